# slora_module(NAME DEPENDS a b ... SOURCES x.cpp ... [LIBRARIES t ...])
#
# Declares native/NAME as the object library slora_NAME. It sees its own include folder and those of the modules it
# names, and no others: the table "who may include whom" of docs/architecture.md is enforced by the compiler.
function(slora_module name)
  cmake_parse_arguments(MODULE "" "" "DEPENDS;SOURCES;LIBRARIES" ${ARGN})
  set(target slora_${name})
  add_library(${target} OBJECT ${MODULE_SOURCES})
  target_include_directories(${target} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  foreach(dependency IN LISTS MODULE_DEPENDS)
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/native/${dependency}/include)
  endforeach()
  target_link_libraries(${target} PRIVATE slora_compile ${MODULE_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY SLORA_MODULES ${name})
endfunction()

# slora_native_test(NAME SOURCES x.cpp ... MODULES a b ...): a GoogleTest program over the named modules' insides. All
# objects of the library are linked in; include folders are those of the named modules only.
function(slora_native_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;MODULES;LIBRARIES" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  foreach(module IN LISTS TEST_MODULES)
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/native/${module}/include)
  endforeach()
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/native ${CMAKE_SOURCE_DIR}/interop/include)
  target_compile_definitions(${name} PRIVATE SLORA_ASSETS="${CMAKE_SOURCE_DIR}/assets")
  target_link_libraries(${name} PRIVATE slora_compile slora_static GTest::gtest_main nlohmann_json::nlohmann_json
    Threads::Threads ${TEST_LIBRARIES})
  # One ctest entry a program: GoogleTest's own list is printed when it fails.
  add_test(NAME ${name} COMMAND ${name})
endfunction()
