// lstm_sequence, gru_sequence, rnn_sequence: one direction of one recurrent layer.
#include <cstring>

#include "ops/rnn/support.h"

namespace annx {
namespace {

using namespace rnn;

void check_tensor(const char* op, const char* what, const Tensor& t, const Dims& shape,
                  const Tensor& x) {
  if (!t.defined()) return;
  ANNX_CHECK(t.shape() == shape, value, op, "expected ", what, " of shape ", shape, " but got ",
             t.shape(), " for input of shape ", x.shape());
  ANNX_CHECK(t.dtype() == x.dtype(), type, op, "expected ", what, " of dtype ", x.dtype(),
             ", that of the input, but got ", t.dtype());
}

// Checks a packed batch and gives its number of sequences.
int64_t check_sizes(const char* op, const Tensor& sizes, const Tensor& x) {
  ANNX_CHECK(sizes.dtype() == DType::i64 && sizes.dim() == 1 && sizes.is_contiguous(), type, op,
             "expected batch_sizes of dtype int64 and 1 dimension but got ", sizes.dtype(),
             " of shape ", sizes.shape());
  const int64_t* size = sizes.data<int64_t>();
  int64_t rows = 0;
  for (int64_t t = 0; t < sizes.numel(); ++t) {
    ANNX_CHECK(size[t] > 0 && (t == 0 || size[t] <= size[t - 1]), value, op,
               "expected batch_sizes that are positive and do not grow but got ", size[t],
               " in step ", t);
    rows += size[t];
  }
  ANNX_CHECK(x.dim() == 2, value, op,
             "expected packed input of shape (rows, input_size) with batch_sizes but got shape ",
             x.shape());
  ANNX_CHECK(rows == x.size(0), value, op, "expected batch_sizes that add up to the ", x.size(0),
             " rows of the input but got ", rows);
  return size[0];
}

TensorList sequence(const char* op, Cell cell, TensorList inputs, bool reverse) {
  const Tensor &x = inputs[kX], &w_ih = inputs[kWih], &w_hh = inputs[kWhh], &w_hr = inputs[kWhr];
  const Tensor& sizes = inputs[kSizes];
  ANNX_CHECK(is_floating(x.dtype()), type, op, "expected a floating-point input but got dtype ",
             x.dtype());
  ANNX_CHECK(sizes.defined() || x.dim() == 3, value, op,
             "expected input of shape (time, batch, input_size) but got ", x.shape());
  const int64_t steps = sizes.defined() ? sizes.numel() : x.size(0);
  ANNX_CHECK(steps > 0, value, op, "expected a sequence of at least one step but got ",
             sizes.defined() ? "no batch_sizes" : "input of shape ",
             sizes.defined() ? Dims{} : x.shape());
  const int64_t batch = sizes.defined() ? check_sizes(op, sizes, x) : x.size(1);
  const int64_t gates = weight_gates(cell);
  ANNX_CHECK(w_hh.dim() == 2 && w_hh.size(0) > 0 && w_hh.size(0) % gates == 0, value, op,
             "expected weight_hh of shape (", gates, " hidden_size, output_size) but got ",
             w_hh.shape());
  const int64_t hidden = w_hh.size(0) / gates;
  ANNX_CHECK(!w_hr.defined() || w_hr.dim() == 2, value, op,
             "expected weight_hr of shape (proj_size, hidden_size) but got ", w_hr.shape());
  const int64_t output = w_hr.defined() ? w_hr.size(0) : hidden;
  check_tensor(op, "weight_ih", w_ih, {gates * hidden, x.size(-1)}, x);
  check_tensor(op, "weight_hh", w_hh, {gates * hidden, output}, x);
  check_tensor(op, "bias_ih", inputs[kBih], {gates * hidden}, x);
  check_tensor(op, "bias_hh", inputs[kBhh], {gates * hidden}, x);
  check_tensor(op, "weight_hr", w_hr, {output, hidden}, x);
  check_tensor(op, "hx", inputs[kHx], {batch, output}, x);
  check_tensor(op, "cx", inputs[kCx], {batch, hidden}, x);
  // What only a backward pass reads is kept for one.
  bool keep = false;
  for (const Tensor& t : inputs)
    keep = keep || (grad_enabled() && t.defined() && t.requires_grad());
  const OpDef& forward = sizes.defined() ? rnn::packed_forward_def : rnn::forward_def;
  const TensorList out = call_all(forward, std::move(inputs),
                                  {Attr(static_cast<int>(cell)), Attr(reverse), Attr(keep)});
  if (cell == Cell::lstm) return {out[kY], out[kHn], out[kCn]};
  return {out[kY], out[kHn]};
}

TensorList lstm(const OpCall& c) {
  TensorList inputs;
  for (int i = 0; i < 9; ++i) inputs.push_back(c.in(i));
  return sequence("lstm_sequence", Cell::lstm, std::move(inputs), c.attr(0).b());
}

// input, hx, weights, biases, sizes: without a cell state and a projection.
TensorList without_cell(const OpCall& c) {
  return {c.in(0), c.in(1), Tensor(), c.in(2), c.in(3), c.in(4), c.in(5), Tensor(), c.in(6)};
}

TensorList gru(const OpCall& c) {
  return sequence("gru_sequence", Cell::gru, without_cell(c), c.attr(0).b());
}

TensorList rnn_layer(const OpCall& c) {
  const char* name = c.attr(0).text();
  const bool tanh = std::strcmp(name, "tanh") == 0;
  ANNX_CHECK(tanh || std::strcmp(name, "relu") == 0, value, "rnn_sequence",
             "expected nonlinearity tanh or relu but got '", name, "'");
  return sequence("rnn_sequence", tanh ? Cell::tanh : Cell::relu, without_cell(c), c.attr(1).b());
}

}  // namespace

namespace def {

const OpDef lstm_sequence = {
    .name = "lstm_sequence",
    .signature =
        "lstm_sequence(Tensor input, Tensor? hx, Tensor? cx, Tensor weight_ih, Tensor weight_hh, "
        "Tensor? bias_ih=None, Tensor? bias_hh=None, Tensor? weight_hr=None, Tensor? "
        "batch_sizes=None, bool reverse=False) -> (Tensor, Tensor, Tensor)",
    .doc =
        "One direction of one LSTM layer: (output, h_n, c_n). input is (time, batch, input_size), "
        "or the packed rows (rows, input_size) of sequences of different lengths with batch_sizes "
        "(how many there are in each step); hx (batch, output_size) and cx (batch, hidden_size) "
        "are zeros if left out. Weights hold the gates i, f, g, o one below the other. weight_hr "
        "(output_size, hidden_size) projects the output. Hochreiter and Schmidhuber, 1997.",
    .composite = annx::lstm,
    .flags = kNoMethod};

const OpDef gru_sequence = {
    .name = "gru_sequence",
    .signature =
        "gru_sequence(Tensor input, Tensor? hx, Tensor weight_ih, Tensor weight_hh, Tensor? "
        "bias_ih=None, Tensor? bias_hh=None, Tensor? batch_sizes=None, bool reverse=False) -> "
        "(Tensor, Tensor)",
    .doc =
        "One direction of one GRU layer: (output, h_n). Arguments as those of lstm_sequence; the "
        "gates are r, z, n. The reset gate multiplies the recurrent product and its bias. Cho et "
        "al., 2014.",
    .composite = annx::gru,
    .flags = kNoMethod};

const OpDef rnn_sequence = {
    .name = "rnn_sequence",
    .signature =
        "rnn_sequence(Tensor input, Tensor? hx, Tensor weight_ih, Tensor weight_hh, Tensor? "
        "bias_ih=None, Tensor? bias_hh=None, Tensor? batch_sizes=None, str nonlinearity='tanh', "
        "bool reverse=False) -> (Tensor, Tensor)",
    .doc =
        "One direction of one plain recurrent layer: (output, h_n), where every state is "
        "nonlinearity (tanh or relu) of the products of the input and the state before. Arguments "
        "as those of lstm_sequence. Elman, 1990.",
    .composite = annx::rnn_layer,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
