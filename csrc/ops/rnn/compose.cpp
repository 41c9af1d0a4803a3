// The gradients of a sequence as formulas on the tape. They start from the inputs and compute the
// steps again, so that what they return can be differentiated in turn.
#include <algorithm>
#include <vector>

#include "ops/rnn/support.h"

namespace annx::rnn {
namespace {

Tensor rows_of(const Tensor& x, int64_t from, int64_t to) { return ops::slice(x, 0, from, to); }
Tensor columns_of(const Tensor& x, int64_t from, int64_t to) { return ops::slice(x, 1, from, to); }
Tensor turned(const Tensor& x) { return ops::transpose(x, 0, 1); }
Tensor join(const TensorList& parts, int64_t dim) {
  return parts.size() == 1 ? parts[0] : call(def::concat, parts, {Attr(dim)});
}
Tensor complement(const Tensor& x) { return ops::sub(ops::number(1), x); }
Tensor plus(const Tensor& x, const Tensor& y) {
  return x.defined() && y.defined() ? x + y : x.defined() ? x : y;
}

// Rows `from` to `to` of a tensor, or zeros where there is none.
Tensor rows_or_zeros(const Tensor& x, int64_t from, int64_t to, int64_t width, DType dtype) {
  return x.defined() ? rows_of(x, from, to) : ops::zeros({to - from, width}, dtype);
}

// What a step computes on its way, and its gradients before the nonlinearities.
struct Step {
  Tensor h_before, c_before;
  Tensor gates[4];  // as in kernels.h
  Tensor c, tanh_c, hidden, h;
  Tensor d_input, d_recurrent, d_projected;
};

class Composition {
 public:
  explicit Composition(BackwardCall& b)
      : b_(b),
        s_(Sizes::of(static_cast<Cell>(b.attr(0).i()), b.attr(1).b(), b.input(kX), b.input(kWhh),
                     b.input(kWhr), b.input(kSizes))),
        x_(ops::reshape(b.input(kX), {s_.time.rows(), s_.input})),
        hx_(b.input(kHx)),
        cx_(b.input(kCx)),
        w_ih_(b.input(kWih)),
        w_hh_(b.input(kWhh)),
        b_ih_(b.input(kBih)),
        b_hh_(b.input(kBhh)),
        w_hr_(b.input(kWhr)),
        steps_(static_cast<size_t>(s_.time.steps())) {}

  void run() {
    for (int64_t k = 0; k < s_.time.steps(); ++k) forward(k);
    const Tensor gy =
        b_.grad(kY).defined() ? ops::reshape(b_.grad(kY), {s_.time.rows(), s_.output}) : Tensor();
    Tensor dh, dc;
    TensorList first_h, first_c;
    for (int64_t k = s_.time.steps() - 1; k >= 0; --k) {
      const int64_t n = s_.time.size(k), at = s_.time.offset(k);
      dh = with_last(dh, b_.grad(kHn), k, s_.output);
      if (gy.defined()) dh = dh + rows_of(gy, at, at + n);
      if (s_.cell == Cell::lstm) dc = with_last(dc, b_.grad(kCn), k, s_.hidden);
      backward(steps_[static_cast<size_t>(k)], dh, dc);
      const int64_t continued = s_.time.continued(k);
      if (continued < n) {
        first_h.push_back(rows_of(dh, continued, n));
        if (dc.defined()) first_c.push_back(rows_of(dc, continued, n));
      }
    }
    if (b_.needs(kHx)) b_.set(kHx, join(reversed(first_h), 0));
    if (b_.needs(kCx)) b_.set(kCx, join(reversed(first_c), 0));
    set_weights();
  }

 private:
  static TensorList reversed(const TensorList& list) {
    TensorList out;
    for (int i = list.size() - 1; i >= 0; --i) out.push_back(list[i]);
    return out;
  }

  // The state that step k starts from.
  Tensor before(int64_t k, Tensor Step::* state, const Tensor& first, int64_t width) const {
    const int64_t n = s_.time.size(k), continued = s_.time.continued(k);
    TensorList parts;
    if (continued > 0)
      parts.push_back(rows_of(steps_[static_cast<size_t>(k - 1)].*state, 0, continued));
    if (continued < n) parts.push_back(rows_or_zeros(first, continued, n, width, x_.dtype()));
    return join(parts, 0);
  }

  // The gradient of the state after step k: that of the state the next step starts from, and for
  // sequences that end here that of the last state.
  Tensor with_last(const Tensor& next, const Tensor& last, int64_t k, int64_t width) const {
    const int64_t n = s_.time.size(k), continuing = s_.time.continuing(k);
    TensorList parts;
    if (continuing > 0) parts.push_back(rows_of(next, 0, continuing));
    if (continuing < n) parts.push_back(rows_or_zeros(last, continuing, n, width, x_.dtype()));
    return join(parts, 0);
  }

  Tensor gate(const Tensor& x, int g) const {
    return columns_of(x, g * s_.hidden, (g + 1) * s_.hidden);
  }

  void forward(int64_t k) {
    Step& t = steps_[static_cast<size_t>(k)];
    const int64_t at = s_.time.offset(k);
    t.h_before = before(k, &Step::h, hx_, s_.output);
    const Tensor x = rows_of(x_, at, at + s_.time.size(k));
    const Tensor from_x = plus(ops::matmul(x, turned(w_ih_)), b_ih_);
    const Tensor from_h = plus(ops::matmul(t.h_before, turned(w_hh_)), b_hh_);
    if (s_.cell == Cell::lstm) {
      t.c_before = before(k, &Step::c, cx_, s_.hidden);
      const Tensor sum = from_x + from_h;
      for (int g = 0; g < 4; ++g)
        t.gates[g] = g == 2 ? ops::tanh(gate(sum, g)) : ops::sigmoid(gate(sum, g));
      t.c = t.gates[1] * t.c_before + t.gates[0] * t.gates[2];
      t.tanh_c = ops::tanh(t.c);
      t.hidden = t.gates[3] * t.tanh_c;
      t.h = w_hr_.defined() ? ops::matmul(t.hidden, turned(w_hr_)) : t.hidden;
    } else if (s_.cell == Cell::gru) {
      t.gates[0] = ops::sigmoid(gate(from_x, 0) + gate(from_h, 0));
      t.gates[1] = ops::sigmoid(gate(from_x, 1) + gate(from_h, 1));
      t.gates[3] = gate(from_h, 2);
      t.gates[2] = ops::tanh(gate(from_x, 2) + t.gates[0] * t.gates[3]);
      t.h = t.gates[2] + t.gates[1] * (t.h_before - t.gates[2]);
    } else {
      t.h = s_.cell == Cell::tanh ? ops::tanh(from_x + from_h) : ops::relu(from_x + from_h);
    }
  }

  // Takes the gradients of the state after the step to those of the state before it.
  void backward(Step& t, Tensor& dh, Tensor& dc) const {
    if (s_.cell == Cell::lstm) {
      const Tensor &i = t.gates[0], &f = t.gates[1], &g = t.gates[2], &o = t.gates[3];
      t.d_projected = dh;
      const Tensor d_hidden = w_hr_.defined() ? ops::matmul(dh, w_hr_) : dh;
      dc = dc + d_hidden * o * complement(ops::square(t.tanh_c));
      t.d_input =
          join({dc * g * i * complement(i), dc * t.c_before * f * complement(f),
                dc * i * complement(ops::square(g)), d_hidden * t.tanh_c * o * complement(o)},
               1);
      t.d_recurrent = t.d_input;
      dc = dc * f;
      dh = ops::matmul(t.d_recurrent, w_hh_);
    } else if (s_.cell == Cell::gru) {
      const Tensor &r = t.gates[0], &z = t.gates[1], &n = t.gates[2];
      const Tensor d_n = dh * complement(z) * complement(ops::square(n));
      const Tensor d_r = d_n * t.gates[3] * r * complement(r);
      const Tensor d_z = dh * (t.h_before - n) * z * complement(z);
      t.d_input = join({d_r, d_z, d_n}, 1);
      t.d_recurrent = join({d_r, d_z, d_n * r}, 1);
      dh = dh * z + ops::matmul(t.d_recurrent, w_hh_);
    } else {
      t.d_input = s_.cell == Cell::tanh
                      ? dh * complement(ops::square(t.h))
                      : ops::where(ops::gt(t.h, ops::number(0)), dh, ops::zeros_like(dh));
      t.d_recurrent = t.d_input;
      dh = ops::matmul(t.d_recurrent, w_hh_);
    }
  }

  // The rows of all steps, in the order in which they lie in x.
  Tensor stacked(Tensor Step::* what) const {
    TensorList parts;
    const int64_t steps = s_.time.steps();
    for (int64_t t = 0; t < steps; ++t)
      parts.push_back(steps_[static_cast<size_t>(s_.time.time(t))].*what);
    return join(parts, 0);
  }

  void set_weights() {
    const Tensor d_input = stacked(&Step::d_input), d_recurrent = stacked(&Step::d_recurrent);
    if (b_.needs(kX)) b_.set(kX, ops::reshape(ops::matmul(d_input, w_ih_), b_.input_shape(kX)));
    if (b_.needs(kWih)) b_.set(kWih, ops::matmul(turned(d_input), x_));
    if (b_.needs(kWhh)) b_.set(kWhh, ops::matmul(turned(d_recurrent), stacked(&Step::h_before)));
    if (b_.needs(kBih)) b_.set(kBih, ops::sum(d_input, {0}));
    if (b_.needs(kBhh)) b_.set(kBhh, ops::sum(d_recurrent, {0}));
    if (b_.needs(kWhr))
      b_.set(kWhr, ops::matmul(turned(stacked(&Step::d_projected)), stacked(&Step::hidden)));
  }

  BackwardCall& b_;
  const Sizes s_;
  const Tensor x_, hx_, cx_, w_ih_, w_hh_, b_ih_, b_hh_, w_hr_;
  std::vector<Step> steps_;
};

}  // namespace

void differentiable_rule(BackwardCall& b) { Composition(b).run(); }

}  // namespace annx::rnn
