# ANNX_COMMIT: the commit of this tree, for figures measured with an installed wheel; empty where the
# tree is not a work tree of git's, a source archive unpacked inside another one for instance.
set(ANNX_COMMIT "")
execute_process(COMMAND git rev-parse --show-prefix WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  RESULT_VARIABLE no_git OUTPUT_VARIABLE prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(no_git EQUAL 0 AND prefix STREQUAL "")
  execute_process(COMMAND git describe --always --dirty --abbrev=12
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    OUTPUT_VARIABLE ANNX_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
