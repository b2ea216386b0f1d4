# What `cmake --install` gives: headers, the library, a CMake package (find_package(SLoRA), target SLoRA::slora) and a
# pkg-config file. Nothing in them names a folder of this machine, so the installed tree may be moved as a whole.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/SLoRA)
set(generated_dir ${CMAKE_CURRENT_BINARY_DIR}/install)

# One file without a version in its name: slora_abi_version() is the check, and a C# program replaces the file as it is.
install(TARGETS slora EXPORT SLoRATargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/interop/include/slora DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/slora)

install(EXPORT SLoRATargets NAMESPACE SLoRA:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/SLoRAConfig.cmake.in ${generated_dir}/SLoRAConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change what a program sees.
write_basic_package_version_file(${generated_dir}/SLoRAConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${generated_dir}/SLoRAConfig.cmake ${generated_dir}/SLoRAConfigVersion.cmake DESTINATION ${package_dir})

# pkg-config finds the prefix from the place of its own file; how many folders up that is depends on the library folder.
cmake_path(SET pkgconfig_dir NORMALIZE "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH SLORA_PC_TO_PREFIX ${pkgconfig_dir} "/prefix")
string(REGEX REPLACE "/$" "" SLORA_PC_TO_PREFIX ${SLORA_PC_TO_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/slora.pc.in ${generated_dir}/slora.pc @ONLY)
install(FILES ${generated_dir}/slora.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
