// Why an elementwise instruction stands alone, for explain.
#pragma once

#include <string>

#include "program/program.h"

namespace annx::program {

// "" where instruction `at` is no elementwise op or does the work of others too.
std::string why_alone(const Program& p, size_t at);

}  // namespace annx::program
