// scaled_dot_product_attention: checks and shapes. The work is done by the ops of attention.h.
#include <cmath>

#include "ops/attention/attention.h"

namespace annx {

void attention::check_options(const OpCall& c, int attr, const char* name) {
  const double p = c.attr(attr).f();
  ANNX_CHECK(p >= 0 && p <= 1, value, name, "expected dropout_p in [0, 1] but got ", p);
  const int mask = c.inputs.size() - 1;
  ANNX_CHECK(!c.has(mask) || !c.attr(attr + 1).b(), value, name,
             "expected no attn_mask together with is_causal=True but got one of shape ",
             c.has(mask) ? c.in(mask).shape() : Dims());
}

Tensor attention::expanded_mask(const Tensor& mask, const Dims& full, DType dtype,
                                const char* name) {
  if (!mask.defined()) return mask;
  ANNX_CHECK(mask.dtype() == DType::b8 || is_floating(mask.dtype()), type, name,
             "expected attn_mask to be bool or floating but got dtype ", mask.dtype());
  bool fits = mask.dim() <= full.size();
  for (int i = 1; fits && i <= mask.dim(); ++i)
    fits = mask.size(-i) == 1 || mask.size(-i) == full[full.size() - i];
  ANNX_CHECK(fits, value, name, "expected attn_mask to broadcast to ", full, " but got shape ",
             mask.shape());
  return ops::expand(mask.dtype() == DType::b8 ? mask : ops::cast(mask, dtype), full);
}

namespace {

using namespace attention;

constexpr const char* kName = "scaled_dot_product_attention";

Dims lead_of(const Tensor& t, int dropped) {
  Dims lead;
  for (int i = 0; i + dropped < t.dim(); ++i) lead.push_back(t.size(i));
  return lead;
}

Dims joined(Dims lead, int64_t rows, int64_t cols) {
  lead.push_back(rows);
  lead.push_back(cols);
  return lead;
}

// (…, rows, cols) as (B, H, rows, cols): H is the last of the leading dimensions, B all before it.
Tensor as_heads(const Tensor& t, const Dims& lead) {
  const int64_t rows = t.size(-2), cols = t.size(-1);
  const Tensor x = ops::expand(t, joined(lead, rows, cols));
  switch (lead.size()) {
    case 0:
      return ops::unsqueeze(ops::unsqueeze(x, 0), 0);
    case 1:
      return ops::unsqueeze(x, 1);
    case 2:
      return x;
    default:
      break;
  }
  int64_t batch = 1;
  for (int i = 0; i + 1 < lead.size(); ++i) batch *= lead[i];
  return ops::reshape(x, {batch, lead.back(), rows, cols});
}

void check_inputs(const OpCall& c) {
  const Tensor &q = c.in(0), &k = c.in(1), &v = c.in(2);
  ANNX_CHECK(is_floating(q.dtype()) && q.dtype() == k.dtype() && q.dtype() == v.dtype(), type,
             kName, "expected query, key and value of one floating dtype but got ", q.dtype(), ", ",
             k.dtype(), " and ", v.dtype());
  ANNX_CHECK(q.dim() >= 2 && k.dim() >= 2 && v.dim() >= 2, value, kName,
             "expected query, key and value of at least 2 dimensions but got shapes ", q.shape(),
             ", ", k.shape(), " and ", v.shape());
  ANNX_CHECK(q.size(-1) == k.size(-1), value, kName,
             "expected query and key with the same last dimension but got shapes ", q.shape(),
             " and ", k.shape());
  ANNX_CHECK(k.size(-2) == v.size(-2), value, kName,
             "expected as many keys as values but got shapes ", k.shape(), " and ", v.shape());
  check_options(c, 0, kName);
}

// The leading dimensions of query and of key and value, broadcast against one another.
void lead_dimensions(const OpCall& c, Dims* query, Dims* key) {
  const Tensor &q = c.in(0), &k = c.in(1), &v = c.in(2);
  if (!c.attr(3).b()) {
    const Dims lead = broadcast_shapes(lead_of(k, 2), lead_of(v, 2), kName);
    *query = *key = broadcast_shapes(lead_of(q, 2), lead, kName);
    return;
  }
  ANNX_CHECK(q.dim() >= 3 && k.dim() >= 3 && v.dim() >= 3, value, kName,
             "expected at least 3 dimensions with enable_gqa=True but got shapes ", q.shape(), ", ",
             k.shape(), " and ", v.shape());
  const int64_t heads = q.size(-3), groups = k.size(-3);
  ANNX_CHECK(groups == v.size(-3) && groups > 0 && heads % groups == 0, value, kName,
             "expected the heads of query to be a multiple of those of key and value but got ",
             heads, ", ", groups, " and ", v.size(-3));
  const Dims batch = broadcast_shapes(lead_of(k, 3), lead_of(v, 3), kName);
  *query = *key = broadcast_shapes(lead_of(q, 3), batch, kName);
  query->push_back(heads);
  key->push_back(groups);
}

Tensor prepared_mask(const OpCall& c, const Dims& lead) {
  const Dims full = joined(lead, c.in(0).size(-2), c.in(1).size(-2));
  const Tensor mask = expanded_mask(c.has(3) ? c.in(3) : Tensor(), full, c.in(0).dtype(), kName);
  return mask.defined() ? as_heads(mask, lead) : mask;
}

TensorList attention_composite(const OpCall& c) {
  check_inputs(c);
  Dims query_lead, key_lead;
  lead_dimensions(c, &query_lead, &key_lead);
  const Tensor mask = prepared_mask(c, query_lead);
  const Tensor q = as_heads(c.in(0), query_lead);
  const Tensor k = as_heads(c.in(1), key_lead), v = as_heads(c.in(2), key_lead);
  const double p = c.attr(0).f();
  const double scale =
      c.attr(2).is_none() ? 1 / std::sqrt(static_cast<double>(q.size(-1))) : c.attr(2).f();
  const Tensor out =
      call_all(forward_def, {q, k, v, mask}, {key_for(p), Attr(p), Attr(scale), c.attr(1)})[0];
  if (query_lead.size() < 2) {
    return {ops::reshape(out, joined(query_lead, out.size(1), out.size(3)))};
  }
  const Tensor heads = ops::permute(out, {0, 2, 1, 3});
  return {ops::reshape(heads, joined(query_lead, out.size(1), out.size(3)))};
}

}  // namespace

namespace def {

const OpDef scaled_dot_product_attention = {
    .name = "scaled_dot_product_attention",
    .signature =
        "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? "
        "attn_mask=None, float dropout_p=0.0, bool is_causal=False, float? scale=None, bool "
        "enable_gqa=False) -> Tensor",
    .doc =
        "softmax(scale * query @ key.T + attn_mask) @ value without forming the weights. query "
        "(..., L, E), key (..., S, E), value (..., S, Ev), result (..., L, Ev). A bool attn_mask "
        "says which keys take part, a floating one is added; it broadcasts to (..., L, S). "
        "is_causal hides keys after the query. A query that sees no key gives 0. scale is "
        "1 / sqrt(E) by default. With enable_gqa groups of query heads share a head of key and "
        "value. dropout_p is always applied. Vaswani et al., 2017; Dao et al., 2022.",
    .composite = attention_composite,
    .flags = kNoMethod};

}  // namespace def
}  // namespace annx
