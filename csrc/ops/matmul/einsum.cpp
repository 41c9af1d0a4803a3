// einsum: sums of products by labelled dimensions, from the left, two operands at a time. Each pair
// is brought to (batch, free, summed) and multiplied by matmul.
#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "ops/functional.h"

namespace annx {
namespace {

// Labels are letters; the dimensions of an ellipsis are 0, 1, ... from its right end.
using Labels = std::vector<int>;

struct Operand {
  Tensor tensor;
  Labels labels;
};

bool is_letter(char ch) { return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z'); }

int find(const Labels& labels, int label) {
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels[i] == label) return static_cast<int>(i);
  return -1;
}

std::string without_spaces(const char* text) {
  std::string out;
  for (const char* p = text; *p; ++p)
    if (*p != ' ') out += *p;
  return out;
}

// One side's labels; dots is how many dimensions its ellipsis stands for, -1 for any but none.
Labels parse_labels(const std::string& text, int dots, const char* equation) {
  Labels labels;
  bool seen = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 3, "...") == 0) {
      ANNX_CHECK(!seen, value, "einsum", "expected at most one ellipsis per term but got '",
                 equation, "'");
      seen = true;
      for (int d = dots - 1; d >= 0; --d) labels.push_back(d);
      i += 2;
      continue;
    }
    ANNX_CHECK(is_letter(text[i]), value, "einsum",
               "expected letters, commas, '...' and '->' but got '", equation, "'");
    labels.push_back(text[i]);
  }
  return labels;
}

// Repeated labels of one operand become its diagonal.
void take_diagonals(Operand& o) {
  for (size_t i = 0; i < o.labels.size(); ++i) {
    for (size_t j = i + 1; j < o.labels.size();) {
      if (o.labels[i] != o.labels[j]) {
        ++j;
        continue;
      }
      const int label = o.labels[i];
      ANNX_CHECK(o.tensor.size(static_cast<int>(i)) == o.tensor.size(static_cast<int>(j)), value,
                 "einsum", "expected equal sizes for the label '", static_cast<char>(label),
                 "' but got shape ", o.tensor.shape());
      o.tensor = call(def::diagonal, {o.tensor},
                      {Attr(0), Attr(static_cast<int64_t>(i)), Attr(static_cast<int64_t>(j))});
      o.labels.erase(o.labels.begin() + static_cast<std::ptrdiff_t>(j));
      o.labels.erase(o.labels.begin() + static_cast<std::ptrdiff_t>(i));
      o.labels.push_back(label);
      j = i + 1;
    }
  }
}

// Sums the labels that nobody else needs.
void sum_out(Operand& o, const Labels& needed) {
  Dims axes;
  Labels kept;
  for (size_t i = 0; i < o.labels.size(); ++i) {
    if (find(needed, o.labels[i]) < 0)
      axes.push_back(static_cast<int64_t>(i));
    else
      kept.push_back(o.labels[i]);
  }
  if (axes.empty()) return;
  // Sums keep the dtype, as products do.
  o.tensor = ops::cast(ops::sum(o.tensor, axes), o.tensor.dtype());
  o.labels = kept;
}

Tensor in_order(const Operand& o, const Labels& order) {
  Dims dims;
  for (int label : order) dims.push_back(find(o.labels, label));
  return ops::permute(o.tensor, dims);
}

int64_t product(const Operand& o, const Labels& labels) {
  int64_t n = 1;
  for (int label : labels) n *= o.tensor.size(find(o.labels, label));
  return n;
}

Labels joined(Labels a, const Labels& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Operand multiply(Operand a, Operand b, const Labels& needed) {
  Labels batch, summed, free_a, free_b;
  for (int label : a.labels) {
    const int at = find(b.labels, label);
    if (at < 0) {
      free_a.push_back(label);
      continue;
    }
    // Where one of them is 1 it repeats.
    const int64_t na = a.tensor.size(find(a.labels, label)), nb = b.tensor.size(at);
    if (na != nb) {
      Operand& small = na == 1 ? a : b;
      Dims shape = small.tensor.shape();
      shape[find(small.labels, label)] = std::max(na, nb);
      small.tensor = ops::expand(small.tensor, shape);
    }
    (find(needed, label) < 0 ? summed : batch).push_back(label);
  }
  for (int label : b.labels)
    if (find(a.labels, label) < 0) free_b.push_back(label);
  const Labels order = joined(joined(batch, free_a), free_b);
  if (summed.empty()) {  // no sum: a product with broadcasting
    Dims shape_a, shape_b;
    for (int label : order) {
      const int at = find(a.labels, label), bt = find(b.labels, label);
      shape_a.push_back(at < 0 ? 1 : a.tensor.size(at));
      shape_b.push_back(bt < 0 ? 1 : b.tensor.size(bt));
    }
    const Tensor x = ops::reshape(in_order(a, joined(batch, free_a)), shape_a);
    const Tensor y = ops::reshape(in_order(b, joined(batch, free_b)), shape_b);
    return {ops::mul(x, y), order};
  }
  const int64_t nb = product(a, batch), ns = product(a, summed);
  const int64_t na = product(a, free_a), nf = product(b, free_b);
  Dims shape;
  for (int label : joined(batch, free_a)) shape.push_back(a.tensor.size(find(a.labels, label)));
  for (int label : free_b) shape.push_back(b.tensor.size(find(b.labels, label)));
  const Tensor x = ops::reshape(in_order(a, joined(joined(batch, free_a), summed)), {nb, na, ns});
  const Tensor y = ops::reshape(in_order(b, joined(joined(batch, summed), free_b)), {nb, ns, nf});
  return {ops::reshape(ops::matmul(x, y), shape), order};
}

TensorList einsum(const OpCall& c) {
  const char* equation = c.attr(0).text();
  const std::string text = without_spaces(equation);
  const size_t arrow = text.find("->");
  const std::string left = text.substr(0, arrow);
  std::vector<std::string> terms(1);
  for (char ch : left) {
    if (ch == ',')
      terms.emplace_back();
    else
      terms.back() += ch;
  }
  ANNX_CHECK(static_cast<int>(terms.size()) == c.inputs.size() && !c.inputs.empty(), value,
             "einsum", "expected one operand for each of ", terms.size(), " terms of '", equation,
             "' but got ", c.inputs.size());
  int dots = 0;
  std::vector<Operand> operands;
  for (int i = 0; i < c.inputs.size(); ++i) {
    const std::string& term = terms[static_cast<size_t>(i)];
    const bool ellipsis = term.find("...") != std::string::npos;
    const int letters = static_cast<int>(term.size()) - (ellipsis ? 3 : 0);
    const int rest = c.in(i).dim() - letters;
    Labels labels = parse_labels(term, ellipsis ? std::max(rest, 0) : 0, equation);
    ANNX_CHECK(ellipsis ? rest >= 0 : rest == 0, value, "einsum", "expected operand ", i,
               " with the dimensions of '", term, "' but got shape ", c.in(i).shape());
    if (ellipsis) dots = std::max(dots, rest);
    operands.push_back({c.in(i), std::move(labels)});
  }
  // Sizes agree, or are 1.
  int64_t sizes[256];
  std::fill(std::begin(sizes), std::end(sizes), -1);
  for (const Operand& o : operands) {
    for (size_t i = 0; i < o.labels.size(); ++i) {
      const int64_t n = o.tensor.size(static_cast<int>(i));
      int64_t& known = sizes[o.labels[i]];
      const bool open = known == -1 || known == 1;
      ANNX_CHECK(open || n == known || n == 1, value, "einsum", "expected size ", known,
                 " along dim ", i, " by '", equation, "' but got shape ", o.tensor.shape());
      if (open) known = n;
    }
  }
  Labels result;
  if (arrow != std::string::npos) {
    result = parse_labels(text.substr(arrow + 2), dots, equation);
    for (size_t i = 0; i < result.size(); ++i) {
      bool known = false;
      for (const Operand& o : operands) known = known || find(o.labels, result[i]) >= 0;
      const Labels before(result.begin(), result.begin() + static_cast<std::ptrdiff_t>(i));
      ANNX_CHECK(known && find(before, result[i]) < 0, value, "einsum",
                 "expected each label of the result once and among the operands' but got '",
                 equation, "'");
    }
  } else {  // the ellipsis, then the letters that occur once, in order
    for (int d = dots - 1; d >= 0; --d) result.push_back(d);
    for (int letter = 'A'; letter <= 'z'; ++letter) {
      int count = 0;
      for (const Operand& o : operands)
        for (int label : o.labels) count += label == letter;
      if (count == 1) result.push_back(letter);
    }
  }
  for (Operand& o : operands) take_diagonals(o);
  Operand total = operands[0];
  for (size_t i = 0; i < operands.size(); ++i) {
    Labels needed = result;
    for (size_t k = i + 1; k < operands.size(); ++k) needed = joined(needed, operands[k].labels);
    if (i > 0) {
      sum_out(operands[i], joined(needed, total.labels));
      total = multiply(total, operands[i], needed);
    }
    sum_out(total, needed);
  }
  return {in_order(total, result)};
}

}  // namespace

namespace def {

const OpDef einsum = {
    .name = "einsum",
    .signature = "einsum(str equation, Tensor[] operands) -> Tensor",
    .doc =
        "Sums of products by labelled dimensions, as in 'bij,bjk->bik': labels that the result "
        "leaves out are summed, '...' stands for leading dimensions that broadcast.",
    .composite = annx::einsum,
    .flags = kPromote | kNoMethod};

}  // namespace def
}  // namespace annx
