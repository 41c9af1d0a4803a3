#include "program/loop.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/thread_pool.h"
#include "ops/call.h"
#include "program/replay.h"

namespace annx::program {

namespace {

constexpr int64_t kBytesPerTask = 1 << 18;

Dims row_shape(const Dims& shape) {
  Dims out;
  for (int d = 1; d < shape.size(); ++d) out.push_back(shape[d]);
  return out;
}

bool row_major(const Value& v) { return is_contiguous_layout(v.shape, v.strides); }

}  // namespace

bool Loop::fits(const Program& p, bool sums) {
  if (p.hosts.size() > 1 || p.results.empty() || p.arguments.empty()) return false;
  for (const Leaf& l : p.leaves)
    if (l.change != Leaf::Change::none && l.entry != Leaf::kAny) return false;
  for (int v : p.arguments) {
    const Value& value = p.values[static_cast<size_t>(v)];
    if (value.shape.empty() || !row_major(value)) return false;
  }
  const int64_t rows = p.values[static_cast<size_t>(p.arguments[0])].shape[0];
  for (size_t k = 0; k < p.results.size(); ++k) {
    if (p.results[k] < 0) return false;
    const Value& value = p.values[static_cast<size_t>(p.results[k])];
    if (k == 0 && sums ? value.numel != 1
                       : value.shape.empty() || value.shape[0] != rows || !row_major(value))
      return false;
  }
  return true;
}

void Loop::check(const Program& p) const {
  ANNX_CHECK(fits(p, sums), value, "run_rows", "expected a program that runs on rows");
  ANNX_CHECK(columns.size() == static_cast<int>(p.arguments.size()), value, "run_rows", "expected ",
             p.arguments.size(), " arrays but got ", columns.size());
  const int64_t last = first + size * batches;
  ANNX_CHECK(size > 0 && first >= 0 && batches >= 0, value, "run_rows",
             "expected batches of rows but got ", batches, " of ", size);
  if (order.defined())
    ANNX_CHECK(order.dtype() == DType::i64 && order.dim() == 1 && order.is_contiguous() &&
                   order.numel() >= last,
               value, "run_rows", "expected an order of ", last, " rows");
  for (int i = 0; i < columns.size(); ++i) {
    const Tensor& all = columns[i];
    const Value& value = p.values[static_cast<size_t>(p.arguments[static_cast<size_t>(i)])];
    ANNX_CHECK(all.dim() == value.shape.size() && all.dtype() == value.dtype &&
                   row_shape(all.shape()) == row_shape(value.shape) && value.shape[0] == size &&
                   all.is_contiguous() && all.device().is_cpu() &&
                   (order.defined() || all.size(0) >= last),
               value, "run_rows", "expected array ", i, " to have the program's rows");
  }
  const auto results = static_cast<int>(p.results.size());
  ANNX_CHECK(kept.size() + sums == results, value, "run_rows", "expected a place for ",
             results - sums, " results but got ", kept.size());
  for (int k = 0; k < kept.size(); ++k) {
    if (!kept[k].defined()) continue;
    const Value& value = p.values[static_cast<size_t>(p.results[static_cast<size_t>(k + sums)])];
    ANNX_CHECK(kept[k].dtype() == value.dtype && kept[k].is_contiguous() && kept[k].dim() > 0 &&
                   row_shape(kept[k].shape()) == row_shape(value.shape) &&
                   kept[k].size(0) >= size * batches,
               value, "run_rows", "expected place for the rows of result ", k + sums);
  }
  ANNX_CHECK(p.hosts.empty() == feeds.empty(), value, "run_rows",
             "expected numbers for the host's call, and only for it");
  for (const Feed& f : feeds)
    ANNX_CHECK(f.target.dtype() == DType::f64 && f.table.dtype() == DType::f64 &&
                   f.target.is_contiguous() && f.table.is_contiguous() && f.table.dim() == 2 &&
                   f.table.size(0) >= batches && f.table.size(1) == f.target.numel(),
               value, "run_rows", "expected a row of numbers for each batch");
}

void Loop::feed() {
  for (const Feed& f : feeds) {
    const auto count = f.target.numel();
    std::memcpy(f.target.raw(), f.table.data<double>() + done * count,
                static_cast<size_t>(count) * sizeof(double));
    f.target.storage()->bump_version();
  }
  fed = done + 1;
}

// Memory for gathered rows; rows that come in order are read where they are.
void Instance::begin_rows(const Loop& loop) {
  if (!loop.order.defined()) return;
  for (int id : moving_) {
    const auto b = static_cast<size_t>(id);
    const Tensor& all = loop.columns[program_->buffers[b].index];
    const auto row = all.size(0) ? all.nbytes() / static_cast<size_t>(all.size(0)) : 0;
    bind(b, Storage::allocate(row * static_cast<size_t>(loop.size)), 0);
  }
}

void Instance::take_rows(const Loop& loop) {
  const int64_t at = loop.first + loop.done * loop.size;
  for (int id : moving_) {
    const auto b = static_cast<size_t>(id);
    const int index = program_->buffers[b].index;
    const Tensor& all = loop.columns[index];
    const int64_t row = all.size(0) ? all.numel() / all.size(0) : 0;
    if (!loop.order.defined()) {
      bind(b, all.storage(), all.offset() + at * row);
      continue;
    }
    const int64_t* const order = loop.order.data<int64_t>() + at;
    const int64_t rows = all.size(0);
    const auto bytes = static_cast<size_t>(row) * itemsize(all.dtype());
    const auto* const from = static_cast<const char*>(all.raw());
    const auto& readers = values_of_[b];
    if (readers.empty()) continue;
    auto* const to =
        static_cast<char*>(tensors_[static_cast<size_t>(readers[0])].storage()->data());
    const auto copy = [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        ANNX_CHECK(order[k] >= 0 && order[k] < rows, index, "run_rows", "expected rows in [0, ",
                   rows, ") but got ", order[k]);
        std::memcpy(to + static_cast<size_t>(k) * bytes,
                    from + static_cast<size_t>(order[k]) * bytes, bytes);
      }
    };
    const int64_t grain =
        std::max<int64_t>(1, kBytesPerTask / std::max<int64_t>(1, static_cast<int64_t>(bytes)));
    if (loop.size <= grain)
      copy(0, loop.size);
    else
      parallel_for(loop.size, grain, copy);
  }
}

void Instance::keep_rows(const Loop& loop) const {
  for (int k = 0; k < loop.kept.size(); ++k) {
    const Tensor& all = loop.kept[k];
    if (!all.defined()) continue;
    const Tensor& part =
        tensors_[static_cast<size_t>(program_->results[static_cast<size_t>(k + loop.sums)])];
    std::memcpy(static_cast<char*>(all.raw()) + static_cast<size_t>(loop.done) * part.nbytes(),
                part.raw(), part.nbytes());
  }
}

void Instance::run(Loop& loop) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  loop.check(*program_);
  if (loop.batches == 0) return;
  if (constants_) take_constants();
  begin_rows(loop);
  begin_results();
  loop_ = &loop;
  {
    const GradModeGuard no_grad(false);
    const Tensor& loss = tensors_[static_cast<size_t>(program_->results[0])];
    while (loop.done < loop.batches) {
      take_rows(loop);
      run_steps();
      if (loop.sums)
        loop.total += load_scalar_f64(loss.raw(), loss.dtype()) * static_cast<double>(loop.size);
      keep_rows(loop);
      ++loop.done;
      if (std::chrono::duration<double>(Clock::now() - start).count() > loop.seconds) break;
    }
  }
  loop_ = nullptr;
  finish_leaves();
  for (int id : moving_) bind(static_cast<size_t>(id), nothing_, 0);
}

}  // namespace annx::program
