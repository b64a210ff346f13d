# One CMake target a folder, and the direction of includes enforced when the build is configured.
#
#   hieron_folder(NAME DEPENDS folder... EXTERNAL target...)    library hieron_NAME from hieron/NAME/**.cc,
#                                                               test program hieron_NAME_test from **_test.cc
#   hieron_program(PROGRAM FOLDER f DEPENDS ... EXTERNAL ...)   an executable from hieron/f/*.cc

add_library(hieron_options INTERFACE)
# Same bits everywhere: no contraction of a*b+c, no reassociation. See docs/determinism.md.
# Nobody here reads the floating-point exception flags or unmasks a trap, and -fno-trapping-math gives up
# nothing else: no value changes, but both arms of a ?: may be computed, which makes vectors of loops.
target_compile_options(hieron_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -ffp-contract=off -fno-fast-math -fno-trapping-math)
if(HIERON_WERROR)
  target_compile_options(hieron_options INTERFACE -Werror)
endif()
if(HIERON_SANITIZE)
  target_compile_options(hieron_options INTERFACE
    -fsanitize=${HIERON_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g)
  target_link_options(hieron_options INTERFACE -fsanitize=${HIERON_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 sees uninitialised memory inside std::regex where instrumented code is inlined (GCC bug 105562).
    target_compile_options(hieron_options INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # libstdc++ 12's own std::stable_sort uses what it declares deprecated.
  target_compile_options(hieron_options INTERFACE -Wno-deprecated-declarations)
endif()
target_compile_definitions(hieron_options INTERFACE HIERON_VERSION="${PROJECT_VERSION}")
target_include_directories(hieron_options INTERFACE ${PROJECT_SOURCE_DIR})

set(HIERON_FOLDERS "" CACHE INTERNAL "folders declared so far, lowest first")

function(_hieron_check_direction name allowed)
  foreach(source IN LISTS ARGN)
    file(STRINGS ${source} includes REGEX "^#include \"hieron/")
    foreach(line IN LISTS includes)
      string(REGEX REPLACE "^#include \"hieron/([a-z]+)/.*" "\\1" used "${line}")
      if(NOT used STREQUAL name AND NOT used IN_LIST allowed)
        file(RELATIVE_PATH shown ${PROJECT_SOURCE_DIR} ${source})
        message(FATAL_ERROR
          "${shown} includes hieron/${used}/, but the folder '${name}' may use only: ${allowed}. "
          "Declare the dependency in CMakeLists.txt, or move the code to where it belongs.")
      endif()
    endforeach()
  endforeach()
endfunction()

function(_hieron_sources name)
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/hieron/${name}/*.cc)
  set(tests ${all})
  list(FILTER all EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/hieron/${name}/*.h)
  set(sources ${all} PARENT_SCOPE)
  set(headers ${headers} PARENT_SCOPE)
  set(tests ${tests} PARENT_SCOPE)
endfunction()

function(hieron_folder name)
  cmake_parse_arguments(arg "" "" "DEPENDS;EXTERNAL" ${ARGN})
  foreach(folder IN LISTS arg_DEPENDS)
    if(NOT folder IN_LIST HIERON_FOLDERS)
      message(FATAL_ERROR "hieron/${name} depends on hieron/${folder}, which is not above it")
    endif()
  endforeach()
  _hieron_sources(${name})
  _hieron_check_direction(${name} "${arg_DEPENDS}" ${sources} ${headers} ${tests})
  set(HIERON_FOLDERS "${HIERON_FOLDERS};${name}" CACHE INTERNAL "")
  list(TRANSFORM arg_DEPENDS PREPEND hieron_)
  if(sources)
    add_library(hieron_${name} STATIC ${sources})
    target_link_libraries(hieron_${name} PUBLIC hieron_options ${arg_DEPENDS} ${arg_EXTERNAL})
  else()
    add_library(hieron_${name} INTERFACE)
    target_link_libraries(hieron_${name} INTERFACE hieron_options ${arg_DEPENDS} ${arg_EXTERNAL})
  endif()
  if(HIERON_TESTS AND tests)
    add_executable(hieron_${name}_test ${tests})
    target_link_libraries(hieron_${name}_test PRIVATE hieron_${name} rapidcheck
                          GTest::gtest GTest::gmock GTest::gtest_main)
    # The tests' own code need not be fast; what they test is built as released.
    target_compile_options(hieron_${name}_test PRIVATE $<$<CONFIG:Release>:-O1>)
    target_compile_definitions(hieron_${name}_test PRIVATE
                               HIERON_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
    add_test(NAME ${name} COMMAND hieron_${name}_test)
  endif()
endfunction()

function(hieron_program program)
  cmake_parse_arguments(arg "" "FOLDER" "DEPENDS;EXTERNAL" ${ARGN})
  _hieron_sources(${arg_FOLDER})
  _hieron_check_direction(${arg_FOLDER} "${arg_DEPENDS}" ${sources} ${headers})
  list(TRANSFORM arg_DEPENDS PREPEND hieron_)
  add_executable(${program} ${sources})
  target_link_libraries(${program} PRIVATE hieron_options ${arg_DEPENDS} ${arg_EXTERNAL})
endfunction()
