// A program as text.
#pragma once

#include <string>

#include "program/program.h"

namespace annx::program {

// One instruction for people.
struct Line {
  std::string name, text;
  double flops = 0, bytes = 0;
};
std::vector<Line> lines(const Program& p);

// How a value is called: by where its memory comes from.
std::string value_name(const Program& p, int v);

std::string explain(const Program& p);

// Equal for two recordings that did the same: ops, attributes, shapes and the values of constants,
// but not random keys.
std::string fingerprint(const Program& p);

}  // namespace annx::program
