// Many replays of a program over rows of arrays: the batches of an epoch without the host between.
#pragma once

#include <vector>

#include "program/program.h"

namespace annx::program {

class Loop {
 public:
  // What the host would write where the program calls it: for each batch a row of the table.
  struct Feed {
    Tensor target;  // float64, (K)
    Tensor table;   // float64, (batches, K)
  };

  TensorList columns;  // per argument all rows of it
  Tensor order;        // int64: which row stands at which place; undefined: as they come
  int64_t first = 0;   // place of the first batch's first row
  int64_t size = 0;    // rows of a batch
  int64_t batches = 0;
  std::vector<Feed> feeds;
  bool sums = true;    // the first result is a number to be added up
  TensorList kept;     // per other result where its rows are put together, or undefined
  double seconds = 0;  // no new batch is begun after so long
  double total = 0;    // the first result times rows, added up
  int64_t done = 0;    // batches
  int64_t fed = 0;     // of them whose host call was reached

  // Whether replays of p may follow one another without the host, on rows of its arguments.
  static bool fits(const Program& p, bool sums);
  // Throws where arrays and program do not belong together.
  void check(const Program& p) const;
  // Writes the numbers of this batch.
  void feed();
};

}  // namespace annx::program
