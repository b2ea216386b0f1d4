// Adapters merged into the model's own packed matrices: W + scale B A in place of W.
//
// A copy of the original matrices is kept on the device. Merging reads the copy and writes the
// model's matrices, so there is no unmerging that would round: the next adapter is merged from the
// original bits, and for the base they are copied back. While an engine with this experiment lives,
// its model serves no other engine; its end restores the bits.
#pragma once

#include <vector>

#include "slora/batch/batch.hpp"
#include "slora/forward/forward_pass.hpp"

namespace slora::ablation {

class MergedWeights {
 public:
  MergedWeights(const forward::Backend& backend, const forward::ModelView& model);
  ~MergedWeights();
  MergedWeights(const MergedWeights&) = delete;
  MergedWeights& operator=(const MergedWeights&) = delete;

  // Makes the matrices those of `adapter_id`, whose pages are the batch's first adapter's; 0: the
  // base's. Nothing if they are already.
  void merge(device::Stream& compute, const batch::Batch& batch, const memory::Arena& arena,
             uint64_t adapter_id);

 private:
  struct Group {
    model::MatrixKind kind;
    int32_t layer_idx;
    std::vector<int32_t> modules;  // into the module table, by column
    device::Buffer original;
  };

  void restore(device::Stream& stream, const Group& group);

  forward::Backend backend_;
  forward::ModelView model_;
  std::vector<Group> groups_;
  uint64_t merged_id_ = 0;
};

}  // namespace slora::ablation
