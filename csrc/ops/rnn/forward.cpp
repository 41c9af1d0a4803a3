// The forward pass over a sequence. Per step and block of units: the products of the input and of
// the last output with all gates' panels, in one chain, then the cell while the tile is in L1.
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "gemm/gemm.h"
#include "ops/functional.h"
#include "ops/rnn/kernels.h"
#include "ops/rnn/panels.h"
#include "ops/rnn/sequence.h"
#include "ops/rnn/support.h"
#include "ops/rnn/sweep.h"

namespace annx::rnn {
namespace {

// Below these, x is multiplied step by step, in the same chain as the state; above, few rows would
// bring a large W_ih into cache in every step.
constexpr int64_t kInputRows = 8;
constexpr int64_t kInputWeights = 1 << 15;

bool joins_input(const Sizes& s) {
  return s.time.batch() >= kInputRows || weight_gates(s.cell) * s.hidden * s.input <= kInputWeights;
}

void infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor &x = c.in(kX), &w_hr = c.in(kWhr);
  const Cell cell = static_cast<Cell>(c.attr(0).i());
  const bool keep = c.attr(2).b(), lstm = cell == Cell::lstm;
  const Sizes s = Sizes::of(cell, c.attr(1).b(), x, c.in(kWhh), w_hr, c.in(kSizes));
  const int64_t rows = s.time.rows(), batch = s.time.batch();
  const DType dtype = x.dtype();
  Dims y = x.shape();
  y.back() = s.output;
  specs.push_back({y, dtype});
  specs.push_back({{batch, s.output}, dtype});
  specs.push_back({{lstm ? batch : 0, s.hidden}, dtype});
  if (lstm)
    specs.push_back({{keep ? rows : 0, kRnnKept * s.hidden}, dtype});
  else
    specs.push_back({{cell != Cell::gru ? 0 : keep ? rows : batch, s.gates() * s.hidden}, dtype});
  specs.push_back({{!lstm ? 0 : keep ? rows : 2 * batch, s.hidden}, dtype});
  specs.push_back({{!w_hr.defined() ? 0 : keep ? rows : batch, s.hidden}, dtype});
}

int64_t joined_input(const Sizes& s) { return joins_input(s) ? s.input : 0; }

// Multiply-adds of one sequence in one step, in the phase of the gates.
int64_t gate_multiplies(const Sizes& s) {
  return weight_gates(s.cell) * s.hidden * (s.output + joined_input(s));
}

Split split_of(const Sizes& s) {
  return Split::of(s.time.batch(), s.time.steps(), gate_multiplies(s));
}

// What the weights alone decide: made once per call, or once for all calls of a prepared program.
template <class T>
struct Weights {
  Weights(const OpCall& c, const Sizes& s, bool kept)
      : width(Panels<T>::block_width(split_of(s).group, s.hidden)),
        panels(joined_input(s) + s.output, s.hidden, width, weight_gates(s.cell)),
        bias(joined_bias<T>(c, s)) {
    const Tensor w_ih = prepared(c, kWih), w_hh = prepared(c, kWhh), w_hr = prepared(c, kWhr);
    const int64_t joined = joined_input(s);
    panels.pack(0, joined, w_ih.data<T>(), 1, s.input, s.hidden * s.input);
    panels.pack(joined, s.output, w_hh.data<T>(), 1, s.output, s.hidden * s.output);
    if (joined == 0 && kept)
      input.emplace(s.input, weight_gates(s.cell) * s.hidden, w_ih.data<T>(), 1, s.input);
    if (!w_hr.defined()) return;
    projection.emplace(s.hidden, s.output, Panels<T>::block_width(split_of(s).group, s.output));
    projection->pack(0, s.hidden, w_hr.data<T>(), 1, s.hidden);
  }

  int64_t width;
  Panels<T> panels;                      // of W_ih, if it is multiplied step by step, then W_hh
  std::optional<PackedMatrix<T>> input;  // W_ih otherwise, if it is kept
  std::optional<Panels<T>> projection;
  Tensor bias;
};

template <class T>
class Forward {
 public:
  Forward(const OpCall& c, const Sizes& sizes, const Weights<T>& weights)
      : weights_(weights),
        s_(sizes),
        time_(sizes.time),
        cell_(sizes.cell),
        lstm_(sizes.cell == Cell::lstm),
        keep_(c.attr(2).b()),
        x_(prepared(c, kX)),
        hx_(prepared(c, kHx)),
        cx_(prepared(c, kCx)),
        w_ih_(prepared(c, kWih)),
        split_(split_of(sizes)),
        joined_(joined_input(sizes)),
        gather_(joined_ > 0 && split_.block_work == 0),
        width_(weights.width),
        panels_(weights.panels),
        y_(c.out(kY).data<T>()),
        hn_(c.out(kHn).data<T>()),
        cn_(c.out(kCn).data<T>()),
        gates_(lstm_ || cell_ == Cell::gru ? c.out(kGates).data<T>() : y_),
        c_(c.out(kC).data<T>()),
        hidden_(c.out(kHidden).data<T>()) {
    if (cx_.defined()) cx_blocks_ = by_blocks<T>(cx_);
  }

  void run() {
    if (joined_ == 0) multiply_input();
    sweep(split_, time_.batch(), 0, time_.steps(), *this);
  }

  int phases() const { return weights_.projection ? 2 : 1; }
  int64_t blocks(int phase) const {
    return phase == 0 ? panels_.blocks() : weights_.projection->blocks();
  }
  bool idle(int, int64_t) const { return false; }
  int64_t multiplies(int phase) const {
    return phase == 0 ? gate_multiplies(s_) : s_.hidden * s_.output;
  }

  void work(int phase, int64_t k, int64_t row, int64_t end, int64_t block, int64_t block_end) {
    end = std::min(end, time_.size(k));
    if (row >= end) return;
    if (phase == 1) return project(k, row, end, block, block_end);
    const int64_t middle = std::clamp(time_.continued(k), row, end);
    if (row < middle) {
      const Before before = {y_ + (time_.offset(k - 1) + row) * s_.output, c_of(k - 1),
                             c_rows(k - 1)};
      tiles(k, row, middle, block, block_end, before);
    }
    if (middle < end) {
      const Before before = {at_row(hx_, middle, s_.output), at_row(cx_blocks_, 0, 0),
                             time_.batch()};
      tiles(k, middle, end, block, block_end, before);
    }
  }

  // Sequences that end at this step leave their state.
  void finish(int64_t k, int64_t row, int64_t end) {
    end = std::min(end, time_.size(k));
    row = std::max(row, time_.continuing(k));
    if (row >= end) return;
    copy_rows(y_ + (time_.offset(k) + row) * s_.output, hn_ + row * s_.output, s_.output,
              end - row);
    if (!lstm_) return;
    for (int64_t u = 0; u < s_.hidden; u += kLanes) {
      const int64_t n = std::min(kLanes, s_.hidden - u);
      const T* from = c_of(k) + u * c_rows(k);
      for (int64_t r = row; r < end; ++r) std::copy_n(from + r * n, n, cn_ + r * s_.hidden + u);
    }
  }

 private:
  // What a step starts from: h at the first row of a tile, and c of all of its `rows` rows.
  struct Before {
    const T* h;
    const T* c;
    int64_t rows;
  };
  struct Operands {
    T* sums;
    const T *x, *h;
    int64_t x_rs, h_rs;
  };
  static constexpr int64_t kLanes = RnnLanes<T>;
  static const T* at_row(const Tensor& t, int64_t row, int64_t width) {
    return t.defined() ? t.data<T>() + row * width : nullptr;
  }
  static void copy_rows(const T* from, T* to, int64_t width, int64_t rows) {
    std::memcpy(to, from, static_cast<size_t>(rows * width) * sizeof(T));
  }

  // Rows of the buffers: of all steps, or of the last ones only.
  int64_t gates_row(int64_t k, int64_t row) const {
    return keep_ || cell_ != Cell::gru ? time_.offset(k) + row : row;
  }
  int64_t kept_row(int64_t k, int64_t row) const { return keep_ ? time_.offset(k) + row : row; }
  T* c_of(int64_t k) const {
    return lstm_ ? c_ + (keep_ ? time_.offset(k) : (k & 1) * time_.batch()) * s_.hidden : nullptr;
  }

  // Rows that c of a step has room for. The two steps that are kept without a backward pass are used
  // in turn by groups that may be at other steps: there a row's place must not depend on the step.
  int64_t c_rows(int64_t k) const { return keep_ ? time_.size(k) : time_.batch(); }

  void multiply_input() {
    GemmArgs<T> args;
    args.m = time_.rows(), args.n = weight_gates(cell_) * s_.hidden, args.k = s_.input;
    args.a = x_.data<T>(), args.a_rs = s_.input;
    args.b = w_ih_.data<T>(), args.b_rs = 1, args.b_cs = s_.input;
    input_sums_ = Tensor::empty({time_.rows(), s_.gates() * s_.hidden}, DTypeOf<T>::value);
    args.c = input_sums_.data<T>(), args.c_rs = s_.gates() * s_.hidden;
    if (weights_.input)
      gemm(args, *weights_.input);
    else
      gemm(args);
  }

  void tiles(int64_t k, int64_t row, int64_t end, int64_t block, int64_t block_end,
             const Before& before) {
    const int64_t rows = end - row, at = time_.offset(k) + row, P = s_.output;
    // An odd number of cache lines, so that rows do not fall on the same sets of L1.
    const int64_t line = (panels_.depth() + kLanes - 1) / kLanes | 1;
    const int64_t sums = joined_ > 0 ? rows * width_ * s_.gates() : 0;
    const int64_t gathered = gather_ ? rows * line * kLanes : 0;
    Operands from = {};
    from.sums =
        static_cast<T*>(tile_scratch().reserve(static_cast<size_t>(sums + gathered) * sizeof(T)));
    from.x = x_.data<T>() + at * s_.input, from.x_rs = s_.input;
    from.h = before.h, from.h_rs = P;
    // Rows of x and h side by side are one chain of products, without a stop in between.
    if (gather_) {
      T* to = from.sums + sums;
      for (int64_t r = 0; r < rows; ++r) {
        std::copy_n(from.x + r * s_.input, s_.input, to + r * line * kLanes);
        if (before.h != nullptr)
          std::copy_n(before.h + r * P, P, to + r * line * kLanes + s_.input);
      }
      from.x = to, from.x_rs = line * kLanes;
      if (before.h != nullptr) from.h = to + s_.input, from.h_rs = line * kLanes;
    }
    for (int64_t b = block; b < block_end; ++b) units(k, row, end, b, from, before);
  }

  // Products of the rows of x and of h with the panels of the gates before `end`, in one tile.
  void multiply_gates(int end, int64_t block, int64_t rows, const Operands& from, T* to, int64_t rs,
                      const Wanted& next) const {
    const int64_t P = s_.output, X = joined_;
    const bool h = from.h != nullptr;
    if (gather_) {
      panels_.multiply_parts(0, end, block, rows, 0, X + (h ? P : 0), from.x, from.x_rs, to, rs,
                             true, next);
      return;
    }
    panels_.multiply_parts(0, end, block, rows, 0, X, from.x, from.x_rs, to, rs, true);
    if (h)
      panels_.multiply_parts(0, end, block, rows, X, P, from.h, from.h_rs, to, rs, false, next);
  }

  // Those of gate g alone, that of h `apart` if it is not to be added.
  void multiply(int g, int64_t block, int64_t rows, const Operands& from, T* to, T* apart,
                int64_t rs) const {
    const int64_t P = s_.output;
    const bool h = from.h != nullptr;
    if (joined_ > 0)
      panels_.multiply(g, block, rows, 0, joined_, from.x, from.x_rs, to, rs, true, true);
    if (h)
      panels_.multiply(g, block, rows, joined_, P, from.h, from.h_rs, apart ? apart : to, rs,
                       apart != nullptr, joined_ > 0);
    else if (apart != nullptr)
      for (int64_t r = 0; r < rows; ++r) std::fill_n(apart + r * rs, panels_.columns(block), T{0});
  }

  // What the cell of this block writes. Where a row holds many blocks, its lines are far apart: of these
  // buffers the block has a share of the step after this one.
  Wanted wanted(int64_t k, int64_t row, int64_t block, const RnnTile<T>& tile) const {
    Wanted next;
    for (int64_t u = 0; tile.kept != nullptr && u < tile.units; u += kLanes) {
      const int64_t n = std::min(kLanes, tile.units - u), first = u * tile.step_rows + row * n;
      next.add(tile.kept + first * kRnnKept, tile.rows * n * kRnnKept);
      next.add(tile.state + first, tile.rows * n);
    }
    if (split_.block_work > 0 || k + 1 == time_.steps()) return next;
    const int64_t rows = std::min(tile.rows, time_.continuing(k) - row), P = s_.output;
    const int64_t at = time_.offset(k + 1) + row, blocks = panels_.blocks();
    next.add_part(y_ + at * P, rows * P, block, blocks);
    if (keep_ && cell_ == Cell::gru)
      next.add_part(gates_ + at * tile.gates_rs, rows * tile.gates_rs, block, blocks);
    return next;
  }

  void units(int64_t k, int64_t row, int64_t end, int64_t block, const Operands& from,
             const Before& before) {
    const int64_t H = s_.hidden, rows = end - row, at = time_.offset(k) + row;
    const int64_t first = block * width_, rs = s_.gates() * H;
    RnnTile<T> tile = {};
    tile.rows = rows, tile.units = panels_.columns(block);
    tile.gate = H, tile.gates_rs = rs, tile.state_rs = H;
    // The products stay in a tile of their own, in L1, unless those of x are there already.
    T* sums = from.sums;
    tile.sum = width_, tile.sums_rs = s_.gates() * width_;
    if (joined_ == 0) {
      sums = input_sums_.data<T>() + at * rs + first;
      tile.sum = H, tile.sums_rs = rs;
    }
    tile.sums = sums;
    tile.bias = weights_.bias.template data<T>() + first;
    if (lstm_) {
      tile.row = row, tile.step_rows = c_rows(k);
      if (keep_) tile.kept = gates_ + (time_.offset(k) * H + first * tile.step_rows) * kRnnKept;
      tile.previous_rows = before.rows;
      tile.previous = before.c != nullptr ? before.c + first * before.rows : nullptr;
      tile.state = c_of(k) + first * tile.step_rows;
    } else {
      tile.gates = gates_ + gates_row(k, row) * rs + first;
      if (cell_ == Cell::gru && before.h != nullptr) tile.previous = before.h + first;
    }
    tile.output = (weights_.projection ? hidden_ + kept_row(k, row) * H : y_ + at * H) + first;
    // gru multiplies the recurrent part of its last gate by another one first.
    const bool apart = cell_ == Cell::gru;
    int g = 0;
    if (joined_ > 0) {
      g = weight_gates(cell_) - (apart ? 1 : 0);
      multiply_gates(g, block, rows, from, sums, tile.sums_rs, wanted(k, row, block, tile));
    }
    for (; g < weight_gates(cell_); ++g)
      multiply(g, block, rows, from, sums + g * tile.sum,
               apart && g == 2 ? sums + 3 * tile.sum : nullptr, tile.sums_rs);
    table<T>().forward[static_cast<int>(cell_)](tile);
  }

  void project(int64_t k, int64_t row, int64_t end, int64_t block, int64_t block_end) {
    const Panels<T>& panels = *weights_.projection;
    for (int64_t b = block; b < block_end; ++b)
      panels.multiply(0, b, end - row, 0, s_.hidden, hidden_ + kept_row(k, row) * s_.hidden,
                      s_.hidden, y_ + (time_.offset(k) + row) * s_.output + b * panels.width(),
                      s_.output, true);
  }

  const Weights<T>& weights_;
  const Sizes& s_;
  const Timeline& time_;
  const Cell cell_;
  const bool lstm_, keep_;
  const Tensor x_, hx_, cx_, w_ih_;
  const Split split_;
  const int64_t joined_;  // elements of x that are multiplied step by step: all or none
  const bool gather_;
  const int64_t width_;
  const Panels<T>& panels_;
  Tensor cx_blocks_, input_sums_;
  T *y_, *hn_, *cn_, *gates_, *c_, *hidden_;
};

Sizes sizes_of(const OpCall& c) {
  return Sizes::of(static_cast<Cell>(c.attr(0).i()), c.attr(1).b(), c.in(kX), c.in(kWhh),
                   c.in(kWhr), c.in(kSizes));
}

template <class T>
void run(const OpCall& c, const Sizes& s) {
  if (c.prepared)
    Forward<T>(c, s, *static_cast<const Weights<T>*>(c.prepared)).run();
  else
    Forward<T>(c, s, Weights<T>(c, s, false)).run();
}

void kernel(const OpCall& c) {
  const Sizes s = sizes_of(c);
  if (s.time.rows() == 0) {
    for (const Tensor& t : c.outputs) std::memset(t.raw(), 0, t.nbytes());
    return;
  }
  if (c.in(kX).dtype() == DType::f32)
    run<float>(c, s);
  else
    run<double>(c, s);
}

std::shared_ptr<const void> prepare(const OpCall& c, uint32_t constant) {
  for (int i : {kWih, kWhh, kBih, kBhh, kWhr})
    if (c.has(i) && !(constant >> i & 1)) return nullptr;
  const Sizes s = sizes_of(c);
  if (s.time.rows() == 0) return nullptr;
  if (c.in(kX).dtype() == DType::f32) return std::make_shared<Weights<float>>(c, s, true);
  return std::make_shared<Weights<double>>(c, s, true);
}

Cost cost(const OpCall& c) {
  const auto rows = static_cast<double>(c.in(kX).numel() / std::max<int64_t>(c.in(kX).size(-1), 1));
  double flops = 0, bytes = 0;
  for (int i : {kWih, kWhh, kWhr})
    if (c.has(i)) flops += 2 * rows * static_cast<double>(c.in(i).numel());
  for (const Tensor& t : c.inputs)
    if (t.defined()) bytes += static_cast<double>(t.nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {flops, bytes};
}

void rule(BackwardCall& b) {
  if (grad_enabled()) return differentiable_rule(b);
  int64_t wanted = 0;
  constexpr int from[] = {kX, kHx, kCx, kWih, kWhh, kBih, kBhh, kWhr};
  for (int i = 0; i < 8; ++i)
    if (b.needs(from[i])) wanted |= int64_t{1} << i;
  const TensorList grads =
      call_all(backward_def,
               {b.grad(kY), b.grad(kHn), b.grad(kCn), b.input(kX), b.input(kHx), b.input(kCx),
                b.input(kWih), b.input(kWhh), b.input(kWhr), b.input(kSizes), b.output(kY),
                b.output(kGates), b.output(kC), b.output(kHidden)},
               {b.attr(0), b.attr(1), Attr(wanted)});
  for (int i = 0; i < 8; ++i)
    if (wanted >> i & 1) b.set(from[i], grads[i]);
}

constexpr OpDef definition(const char* name, uint32_t flags) {
  return {.name = name,
          .signature = "",
          .doc = "",
          .infer = infer,
          .kernel = kernel,
          .backward = rule,
          .cost = cost,
          .saves = save_input(kX) | save_input(kHx) | save_input(kCx) | save_input(kWih) |
                   save_input(kWhh) | save_input(kBih) | save_input(kBhh) | save_input(kWhr) |
                   save_input(kSizes) | save_output(kY) | save_output(kGates) | save_output(kC) |
                   save_output(kHidden),
          .flags = flags,
          .prepare = prepare};
}

}  // namespace

const OpDef forward_def = definition("sequence_forward", kInternal);
// The number of sequences, and with it the shapes, is a value of the batch sizes.
const OpDef packed_forward_def = definition("packed_sequence_forward", kInternal | kNoCapture);

}  // namespace annx::rnn
