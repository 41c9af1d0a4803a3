// The backward pass over a sequence: step by step the gradient of the state and of the gates before
// their nonlinearity, then the gradients of x and of the weights as products over all steps at once.
#include <algorithm>
#include <cstring>
#include <optional>

#include "ops/rnn/panels.h"
#include "ops/rnn/support.h"
#include "ops/rnn/sweep.h"
#include "ops/rnn/weights.h"

namespace annx::rnn {
namespace {

void infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor& x = c.in(kBx);
  const Cell cell = static_cast<Cell>(c.attr(0).i());
  const Sizes s = Sizes::of(cell, c.attr(1).b(), x, c.in(kBwhh), c.in(kBwhr), c.in(kBsizes));
  const int64_t batch = s.time.batch(), gates = weight_gates(cell) * s.hidden;
  const Dims shapes[] = {x.shape(),        {batch, s.output},   {batch, s.hidden},
                         {gates, s.input}, {gates, s.output},   {gates},
                         {gates},          {s.output, s.hidden}};
  for (int i = 0; i < 8; ++i) {
    const bool wanted = c.attr(2).i() >> i & 1;
    specs.push_back({wanted ? shapes[i] : Dims{0}, x.dtype()});
  }
}

template <class T>
class Backward {
 public:
  Backward(const OpCall& c, const Sizes& sizes)
      : call_(c),
        s_(sizes),
        time_(sizes.time),
        cell_(sizes.cell),
        lstm_(sizes.cell == Cell::lstm),
        gy_(prepared(c, kGy)),
        x_(prepared(c, kBx)),
        hx_(prepared(c, kBhx)),
        cx_(prepared(c, kBcx)),
        w_ih_(prepared(c, kBwih)),
        w_hh_(prepared(c, kBwhh)),
        w_hr_(prepared(c, kBwhr)),
        split_(Split::of(sizes.time.batch(), sizes.time.steps(), multiplies(0))),
        h_panels_(weight_gates(cell_) * s_.hidden, s_.output,
                  Panels<T>::block_width(split_.group, s_.output)),
        chunk_(std::max<int64_t>(1, kChunkRows / std::max<int64_t>(time_.batch(), 1))),
        dgates_rs_((s_.gates() * s_.hidden + kLanes - 1) / kLanes * kLanes | kLanes),
        dgates_(buffer(std::min(chunk_, time_.steps()) * time_.batch() * dgates_rs_)),
        boundary_(buffer(chunk_ < time_.steps() ? time_.batch() * dgates_rs_ : 0)),
        dstate_(buffer(lstm_ ? time_.batch() * s_.hidden : 0)),
        groups_((time_.batch() + split_.group - 1) / split_.group),
        bias_grad_(buffer(groups_ * s_.gates() * s_.hidden)),
        y_(c.in(kBy).data<T>()),
        gates_(lstm_ || cell_ == Cell::gru ? c.in(kBgates).data<T>() : y_),
        c_(c.in(kBc).data<T>()),
        hidden_(c.in(kBhidden).data<T>()),
        // The running gradients of the state end as those of the first one.
        dh_(wanted(kDhx) ? c.out(kDhx) : buffer(time_.batch() * s_.output)),
        dc_(wanted(kDcx) ? c.out(kDcx) : dstate_) {
    h_panels_.pack(0, h_panels_.depth(), w_hh_.data<T>(), s_.output, 1);
    if (lstm_ && wanted(kDwhh) && !w_hr_.defined() && time_.even())
      h_ = buffer(std::min(chunk_, time_.steps()) * time_.batch() * s_.output);
    if (wanted(kDx)) {
      const int64_t depth = weight_gates(cell_) * s_.hidden;
      x_panels_.emplace(depth, s_.input, Panels<T>::block_width(kTaskRows, s_.input));
      x_panels_->pack(0, depth, w_ih_.data<T>(), s_.input, 1);
    }
    if (cx_.defined()) cx_blocks_ = by_blocks<T>(cx_);
    start(prepared(c, kGhn), dh_);
    if (lstm_) start(prepared(c, kGcn), dc_);
    std::fill_n(bias_grad_.data<T>(), bias_grad_.numel(), T{0});
    if (w_hr_.defined()) {
      r_panels_.emplace(s_.output, s_.hidden, Panels<T>::block_width(split_.group, s_.hidden));
      r_panels_->pack(0, s_.output, w_hr_.data<T>(), s_.hidden, 1);
      dr_ = buffer(std::min(chunk_, time_.steps()) * time_.batch() * s_.output);
      dhidden_ = buffer(time_.batch() * s_.hidden);
    }
  }

  // Some steps at a time, so that the weights' products find the gates' gradients in cache.
  void run() {
    std::vector<WeightGradient<T>> list;
    if (wanted(kDwih)) {
      const bool apart = cell_ == Cell::gru;
      list.push_back({s_.input, call_.out(kDwih).data<T>(), {0, 1, apart ? -1 : 2, apart ? 2 : 3}});
    }
    if (wanted(kDwhh))
      list.push_back(
          {s_.output, call_.out(kDwhh).data<T>(), {0, 1, 2, cell_ == Cell::gru ? -1 : 3}});
    WeightGradients<T> weights(static_cast<int>(s_.gates()), s_.hidden, dgates_rs_,
                               std::move(list));
    std::vector<WeightGradient<T>> projection;
    if (wanted(kDwhr)) projection.push_back({s_.hidden, call_.out(kDwhr).data<T>(), {0}});
    WeightGradients<T> projections(1, s_.output, s_.output, std::move(projection));
    for (end_ = time_.steps(); end_ > 0; end_ = first_) {
      first_ = std::max<int64_t>(0, end_ - chunk_);
      base_ = std::min(time_.offset(first_), time_.offset(end_ - 1));
      sweep(split_, time_.batch(), time_.steps() - end_, time_.steps() - first_, *this);
      const int64_t rows = std::max(time_.offset(first_) + time_.size(first_),
                                    time_.offset(end_ - 1) + time_.size(end_ - 1)) -
                           base_;
      if (wanted(kDx)) input_gradient(rows);
      if (wanted(kDwih) || wanted(kDwhh)) add_weights(weights, rows);
      if (wanted(kDwhr)) projections.add(dr_.data<T>(), rows, {hidden_ + base_ * s_.hidden});
      if (first_ > 0)
        std::copy_n(dgates(first_, 0), time_.size(first_) * dgates_rs_, boundary_.data<T>());
    }
    weights.finish();
    projections.finish();
    bias_gradients();
  }

  // The last phase carries the gradient on to sequences' first states.
  int phases() const { return (r_panels_ ? 2 : 1) + (wanted(kDhx) ? 1 : 0); }
  int64_t blocks(int phase) const {
    return phase == 1 && r_panels_ ? r_panels_->blocks() : h_panels_.blocks();
  }
  int64_t multiplies(int phase) const {
    const int64_t first = weight_gates(cell_) * s_.hidden * s_.output;
    return phase == 1 && w_hr_.defined() ? s_.hidden * s_.output : first;
  }
  bool idle(int phase, int64_t i) const {
    const int64_t k = time_.steps() - 1 - i;
    return is_last(phase) && time_.continued(k) == time_.size(k);
  }

  void work(int phase, int64_t i, int64_t row, int64_t end, int64_t block, int64_t block_end) {
    const int64_t k = time_.steps() - 1 - i;
    end = std::min(end, time_.size(k));
    if (row >= end) return;
    for (int64_t b = block; b < block_end; ++b) {
      if (is_last(phase)) {
        multiply(k, std::max(row, time_.continued(k)), end, b);
      } else if (phase == 0) {
        multiply(k + 1, row, std::min(end, time_.continuing(k)), b, to_read(k, row, end, b));
        if (r_panels_)
          keep_projected(k, row, end, b);
        else
          units(k, row, end, b, dh_.data<T>() + row * s_.output, h_panels_);
      } else {
        T* dhidden = dhidden_.data<T>() + row * s_.hidden;
        r_panels_->multiply(0, b, end - row, 0, s_.output, projected(k, row), s_.output,
                            dhidden + b * r_panels_->width(), s_.hidden, true);
        units(k, row, end, b, dhidden, *r_panels_);
      }
    }
  }
  void finish(int64_t, int64_t, int64_t) {}

 private:
  static constexpr int64_t kChunkRows = 256, kLanes = RnnLanes<T>;
  // Rows of step k in the buffers of the chunk.
  T* dgates(int64_t k, int64_t row) const {
    return dgates_.data<T>() + (time_.offset(k) + row - base_) * dgates_rs_;
  }
  T* projected(int64_t k, int64_t row) const {
    return dr_.data<T>() + (time_.offset(k) + row - base_) * s_.output;
  }
  static Tensor buffer(int64_t n) { return Tensor::empty({n}, DTypeOf<T>::value); }
  bool wanted(int output) const { return call_.attr(2).i() >> output & 1; }
  bool is_last(int phase) const { return wanted(kDhx) && phase == phases() - 1; }
  static void start(const Tensor& from, const Tensor& to) {
    if (from.defined())
      std::memcpy(to.raw(), from.raw(), to.nbytes());
    else
      std::memset(to.raw(), 0, to.nbytes());
  }

  // What the cell of this block reads. Where a row holds many blocks, its lines are far apart: of these
  // buffers the block has a share of the step that comes next.
  Wanted to_read(int64_t k, int64_t row, int64_t end, int64_t block) const {
    Wanted next;
    if (r_panels_) return next;
    const int64_t H = s_.hidden, all = time_.size(k), rs = s_.gates() * H;
    const int64_t first = block * h_panels_.width(), units = h_panels_.columns(block);
    for (int64_t u = first; lstm_ && u < first + units; u += kLanes) {
      const int64_t n = std::min(kLanes, H - u);
      next.add(gates_ + (time_.offset(k) * H + u * all + row * n) * kRnnKept,
               (end - row) * n * kRnnKept);
      if (k > 0)
        next.add(c_ + time_.offset(k - 1) * H + u * time_.size(k - 1) + row * n, (end - row) * n);
    }
    if (split_.block_work > 0 || k == 0) return next;
    const int64_t rows = std::min(end, time_.size(k - 1)) - row, blocks = h_panels_.blocks();
    const int64_t at = time_.offset(k - 1) + row;
    if (gy_.defined()) next.add_part(gy_.data<T>() + at * H, rows * H, block, blocks);
    if (cell_ == Cell::gru) next.add_part(gates_ + at * rs, rows * rs, block, blocks);
    return next;
  }

  // What the gates of step k pass on to the outputs of the step before, for a block of these.
  void multiply(int64_t k, int64_t row, int64_t end, int64_t block, const Wanted& next = {}) {
    if (row >= end) return;
    const int64_t rs = dgates_rs_;
    const T* from = k < end_ ? dgates(k, row) : boundary_.data<T>() + row * rs;
    h_panels_.multiply(0, block, end - row, 0, h_panels_.depth(), from, rs,
                       dh_.data<T>() + row * s_.output + block * h_panels_.width(), s_.output,
                       cell_ != Cell::gru, false, next);
  }

  void keep_projected(int64_t k, int64_t row, int64_t end, int64_t block) {
    const int64_t first = block * h_panels_.width(), n = h_panels_.columns(block);
    for (int64_t r = row; r < end; ++r) {
      const int64_t at = (time_.offset(k) + r) * s_.output + first;
      const T* dh = dh_.data<T>() + r * s_.output + first;
      T* to = projected(k, r) + first;
      if (gy_.defined())
        for (int64_t j = 0; j < n; ++j) to[j] = dh[j] + gy_.data<T>()[at + j];
      else
        std::copy_n(dh, n, to);
    }
  }

  void units(int64_t k, int64_t row, int64_t end, int64_t block, T* dh, const Panels<T>& panels) {
    const int64_t H = s_.hidden, rs = s_.gates() * H, first = block * panels.width();
    RnnTile<T> tile = {};
    tile.units = panels.columns(block);
    tile.gate = H, tile.gates_rs = rs, tile.dgates_rs = dgates_rs_, tile.state_rs = H;
    tile.bias_grad = bias_grad_.data<T>() + row / split_.group * rs + first;
    // Sequences that have a step before this one, then those that start here.
    const int64_t middle = std::clamp(time_.continued(k), row, end);
    for (const auto& [from, to] : {std::pair{row, middle}, std::pair{middle, end}}) {
      if (from == to) continue;
      const int64_t at = time_.offset(k) + from;
      tile.rows = to - from;
      tile.dgates = dgates(k, from) + first;
      // Beside the gradients of the step after this one, which are multiplied by it.
      if (h_.defined() && k + 1 < end_)
        tile.again = h_.data<T>() + (time_.offset(k + 1) + from - base_) * H + first;
      tile.dy = gy_.defined() && !r_panels_ ? gy_.data<T>() + at * H + first : nullptr;
      tile.dh = dh + (from - row) * H + first;
      const bool continued = from < middle;
      tile.previous = nullptr;
      if (lstm_) {
        tile.row = from, tile.step_rows = time_.size(k);
        tile.kept =
            const_cast<T*>(gates_) + (time_.offset(k) * H + first * tile.step_rows) * kRnnKept;
        tile.previous_rows = continued ? time_.size(k - 1) : time_.batch();
        if (continued)
          tile.previous = c_ + time_.offset(k - 1) * H + first * tile.previous_rows;
        else if (cx_blocks_.defined())
          tile.previous = cx_blocks_.data<T>() + first * tile.previous_rows;
        tile.dstate = dc_.data<T>() + from * H + first;
      } else {
        tile.gates = const_cast<T*>(gates_) + at * rs + first;
        if (continued)
          tile.previous = y_ + (time_.offset(k - 1) + from) * H + first;
        else if (hx_.defined())
          tile.previous = hx_.data<T>() + from * H + first;
      }
      table<T>().backward[static_cast<int>(cell_)](tile);
    }
  }

  // Of the rows of the chunk.
  static constexpr int64_t kFewBlocks = 8, kTaskRows = 64, kTaskWork = 1 << 17;
  void input_gradient(int64_t rows) {
    const int64_t H = s_.hidden;
    // gru's last gate has gradients of its own for x.
    const bool apart = cell_ == Cell::gru;
    const int64_t joined = (apart ? 2 : s_.gates()) * H, blocks = x_panels_->blocks();
    // Tasks are blocks of columns, and of rows too where there are few of these.
    const int64_t piece = blocks < kFewBlocks ? kTaskRows : rows;
    const int64_t work = std::min(piece, rows) * x_panels_->width() * x_panels_->depth();
    const int64_t grain = std::max<int64_t>(1, kTaskWork / work);
    parallel_for((rows + piece - 1) / piece * blocks, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / blocks * piece, block = i % blocks, n = std::min(piece, rows - row);
        const T* from = dgates_.data<T>() + row * dgates_rs_;
        T* to = call_.out(kDx).data<T>() + (base_ + row) * s_.input + block * x_panels_->width();
        x_panels_->multiply(0, block, n, 0, joined, from, dgates_rs_, to, s_.input, true);
        if (apart)
          x_panels_->multiply(0, block, n, joined, H, from + 3 * H, dgates_rs_, to, s_.input,
                              false);
      }
    });
  }

  void add_weights(WeightGradients<T>& weights, int64_t rows) {
    const int64_t P = s_.output, rs = dgates_rs_;
    const auto add = [&](int64_t from, int64_t n, const T* h) {
      std::vector<const T*> a;
      if (wanted(kDwih)) a.push_back(x_.data<T>() + (base_ + from) * s_.input);
      if (wanted(kDwhh)) a.push_back(h);
      weights.add(dgates_.data<T>() + from * rs, n, a);
    };
    const T* first = hx_.defined() ? hx_.data<T>() : nullptr;
    if (time_.even()) {
      // The states before are the outputs, shifted by a step; sequences start in the first step.
      const int64_t batch = time_.batch(), start = first_ == 0 ? batch : 0;
      // The cells of an lstm made them again, but for those of the step before the chunk.
      const T* h = h_.defined() ? h_.data<T>() : nullptr;
      if (h == nullptr)
        h = y_ + (time_.reverse() ? base_ + batch : base_ - batch) * P;
      else if (first_ > 0)
        std::copy_n(y_ + time_.offset(first_ - 1) * P, batch * P,
                    h_.data<T>() + (time_.offset(first_) - base_) * P);
      if (time_.reverse()) {
        add(0, rows - start, h);
        if (start > 0) add(rows - start, start, first);
      } else {
        if (start > 0) add(0, start, first);
        add(start, rows - start, h + start * P);
      }
      return;
    }
    const Tensor before = buffer(rows * P);
    for (int64_t k = first_; k < end_; ++k) {
      T* to = before.data<T>() + (time_.offset(k) - base_) * P;
      const int64_t n = time_.continued(k) * P, all = time_.size(k) * P;
      if (n > 0) std::copy_n(y_ + time_.offset(k - 1) * P, n, to);
      if (first != nullptr)
        std::copy_n(first + n, all - n, to + n);
      else
        std::fill_n(to + n, all - n, T{0});
    }
    add(0, rows, before.data<T>());
  }

  void bias_gradients() {
    const int64_t H = s_.hidden, rs = s_.gates() * H;
    for (const int output : {kDbih, kDbhh}) {
      if (!wanted(output)) continue;
      T* db = call_.out(output).data<T>();
      for (int64_t j = 0; j < weight_gates(cell_) * H; ++j) {
        const bool apart = cell_ == Cell::gru && output == kDbih && j >= 2 * H;
        const T* from = bias_grad_.data<T>() + (apart ? j + H : j);
        T sum = from[0];
        for (int64_t g = 1; g < groups_; ++g) sum += from[g * rs];
        db[j] = sum;
      }
    }
  }

  const OpCall& call_;
  const Sizes& s_;
  const Timeline& time_;
  const Cell cell_;
  const bool lstm_;
  const Tensor gy_, x_, hx_, cx_, w_ih_, w_hh_, w_hr_;
  const Split split_;
  Panels<T> h_panels_;
  std::optional<Panels<T>> r_panels_, x_panels_;
  const int64_t chunk_;  // steps
  // Gradients of the gates: of the steps of a chunk, and of the one that came before it. Rows are an odd
  // number of lines apart, so that they do not fall on the same sets of L1.
  const int64_t dgates_rs_;
  const Tensor dgates_, boundary_;
  const Tensor dstate_;
  const int64_t groups_;
  const Tensor bias_grad_;
  const T *y_, *gates_, *c_, *hidden_;
  const Tensor dh_, dc_;
  // Outputs of an lstm, each in the rows of the step after it: made from what its cells read, they are in cache.
  Tensor h_;
  Tensor dr_, dhidden_, cx_blocks_;
  int64_t first_ = 0, end_ = 0, base_ = 0;  // steps of the chunk and its first row
};

void kernel(const OpCall& c) {
  const Sizes s = Sizes::of(static_cast<Cell>(c.attr(0).i()), c.attr(1).b(), c.in(kBx), c.in(kBwhh),
                            c.in(kBwhr), c.in(kBsizes));
  if (s.time.rows() == 0) {
    for (const Tensor& t : c.outputs) std::memset(t.raw(), 0, t.nbytes());
    return;
  }
  if (c.in(kBx).dtype() == DType::f32)
    Backward<float>(c, s).run();
  else
    Backward<double>(c, s).run();
}

Cost cost(const OpCall& c) {
  const int64_t input = std::max<int64_t>(c.in(kBx).size(-1), 1);
  const auto rows = static_cast<double>(c.in(kBx).numel() / input);
  const int64_t wanted = c.attr(2).i();
  double flops = 0, bytes = 0;
  if (wanted >> kDx & 1) flops += 2 * rows * static_cast<double>(c.in(kBwih).numel());
  if (wanted >> kDwih & 1) flops += 2 * rows * static_cast<double>(c.in(kBwih).numel());
  if (wanted >> kDwhh & 1) flops += 2 * rows * static_cast<double>(c.in(kBwhh).numel());
  flops += 2 * rows * static_cast<double>(c.in(kBwhh).numel());
  if (c.has(kBwhr)) flops += 4 * rows * static_cast<double>(c.in(kBwhr).numel());
  for (const Tensor& t : c.inputs)
    if (t.defined()) bytes += static_cast<double>(t.nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {flops, bytes};
}

}  // namespace

const OpDef backward_def = {.name = "sequence_backward",
                            .signature = "",
                            .doc = "",
                            .infer = infer,
                            .kernel = kernel,
                            .cost = cost,
                            .flags = kInternal};

}  // namespace annx::rnn
