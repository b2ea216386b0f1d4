# Warnings and flags that hold for every target.
add_library(slora_compile INTERFACE)
target_compile_options(slora_compile INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror
  # Sums must not be re-associated or fused differently between translation units: tokens are bitwise reproducible.
  -ffp-contract=off -fno-math-errno)
if(SLORA_SANITIZE)
  target_compile_options(slora_compile INTERFACE -fsanitize=${SLORA_SANITIZE} -fno-omit-frame-pointer -g)
  target_link_options(slora_compile INTERFACE -fsanitize=${SLORA_SANITIZE})
endif()
if(SLORA_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "SLORA_BUILD_FUZZERS needs clang (libFuzzer); use the preset fuzz")
  endif()
  target_compile_options(slora_compile INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined
    -Wno-unknown-warning-option)
endif()
