// Reference of the logit processors: sorts where the kernel selects, double where it has float.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "slora/kernels/reference.hpp"

namespace slora::kernels::reference {
namespace {

constexpr double kDropped = -std::numeric_limits<double>::infinity();

std::vector<double> softmax(const std::vector<double>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p(logits.size());
  double sum = 0.0;
  for (size_t v = 0; v < p.size(); ++v) sum += p[v] = std::exp(logits[v] - largest);
  for (double& x : p) x /= sum;
  return p;
}

std::vector<size_t> order_by(const std::vector<double>& keys) {
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return keys[a] < keys[b]; });
  return order;
}

std::vector<double> negated(std::vector<double> x) {
  for (double& value : x) value = -value;
  return x;
}

void penalise(const SampleParams& params, const SampleRow& row, std::vector<double>& logits) {
  for (int32_t i = 0; i < row.num_bias; ++i) {
    logits[static_cast<size_t>(params.bias_tokens[row.bias_offset + i])] +=
        params.bias_values[row.bias_offset + i];
  }
  const int32_t* history = params.history + row.history_slot * params.history_stride;
  std::map<int32_t, int32_t> seen;
  std::map<int32_t, int32_t> output;
  for (int32_t i = 0; i < row.history_tokens; ++i) {
    ++seen[history[i]];
    if (i >= row.prompt_tokens) ++output[history[i]];
  }
  for (const auto& [token, count] : seen) {
    double& logit = logits[static_cast<size_t>(token)];
    logit = logit < 0.0 ? logit * row.repetition_penalty : logit / row.repetition_penalty;
  }
  for (const auto& [token, count] : output) {
    logits[static_cast<size_t>(token)] -=
        row.presence_penalty + static_cast<double>(row.frequency_penalty) * count;
  }
}

void keep_top_k(int32_t k, std::vector<double>& logits) {
  const double last = logits[order_by(negated(logits))[static_cast<size_t>(k - 1)]];
  for (double& logit : logits) {
    if (logit < last) logit = kDropped;
  }
}

void keep_top_p(double top_p, std::vector<double>& logits) {
  const std::vector<double> p = softmax(logits);
  double before = 0.0;
  for (const size_t v : order_by(negated(logits))) {
    if (before >= top_p) logits[v] = kDropped;
    before += p[v];
  }
}

void keep_min_p(double min_p, std::vector<double>& logits) {
  const std::vector<double> p = softmax(logits);
  const double least = min_p * *std::max_element(p.begin(), p.end());
  for (size_t v = 0; v < p.size(); ++v) {
    if (p[v] < least) logits[v] = kDropped;
  }
}

void keep_typical(double typical_p, std::vector<double>& logits) {
  const std::vector<double> p = softmax(logits);
  double entropy = 0.0;
  for (const double x : p) entropy -= x > 0.0 ? x * std::log(x) : 0.0;
  std::vector<double> distance(p.size());
  for (size_t v = 0; v < p.size(); ++v) distance[v] = std::fabs(-std::log(p[v]) - entropy);
  double sum = 0.0;
  double last = 0.0;
  for (const size_t v : order_by(distance)) {
    last = distance[v];
    if ((sum += p[v]) >= typical_p) break;
  }
  for (size_t v = 0; v < p.size(); ++v) {
    if (distance[v] > last) logits[v] = kDropped;
  }
}

}  // namespace

std::vector<double> sample_distribution(const SampleParams& params, int32_t row_idx) {
  const SampleRow& row = params.rows[row_idx];
  const float* raw = params.logits + row.logits_row * params.vocab_size;
  std::vector<double> logits(raw, raw + params.vocab_size);
  penalise(params, row, logits);
  if (row.temperature == 0.0f) {
    std::vector<double> one_hot(logits.size());
    one_hot[static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())] =
        1.0;
    return one_hot;
  }
  for (double& logit : logits) logit /= row.temperature;
  if (row.top_k > 0 && row.top_k < params.vocab_size) keep_top_k(row.top_k, logits);
  if (row.top_p < 1.0f) keep_top_p(row.top_p, logits);
  if (row.min_p > 0.0f) keep_min_p(row.min_p, logits);
  if (row.typical_p < 1.0f) keep_typical(row.typical_p, logits);
  return softmax(logits);
}

}  // namespace slora::kernels::reference
