// Copies of the matrices first, then merges into the originals; both through the backend's kernels.
#include "merged_weights.hpp"

#include "slora/core/check.hpp"

namespace slora::ablation {

using model::MatrixKind;

MergedWeights::MergedWeights(const forward::Backend& backend, const forward::ModelView& model)
    : backend_(backend), model_(model) {
  device::Stream copy(backend_.device, device::StreamKind::kCopy);
  for (int32_t layer = 0; layer < model.config->num_layers; ++layer) {
    for (const MatrixKind kind :
         {MatrixKind::kQkv, MatrixKind::kO, MatrixKind::kGateUp, MatrixKind::kDown}) {
      Group group{kind, layer, {}, {}};
      for (int32_t i = 0; i < model.modules->num_modules(); ++i)
        if (model.modules->modules[static_cast<size_t>(i)].group == kind)
          group.modules.push_back(i);
      const device::Buffer& packed = model.weights->matrix(kind, layer).packed;
      group.original = device::Buffer(backend_.device, device::MemoryKind::kDevice, packed.bytes());
      copy.copy(group.original.data(), packed.data(), packed.bytes());
      groups_.push_back(std::move(group));
    }
  }
  copy.synchronize();
}

MergedWeights::~MergedWeights() {
  try {
    device::Stream copy(backend_.device, device::StreamKind::kCopy);
    if (merged_id_ != 0)
      for (const Group& group : groups_) restore(copy, group);
    copy.synchronize();
  } catch (const std::exception&) {
    // The device is gone, and the weights with it.
  }
}

void MergedWeights::restore(device::Stream& stream, const Group& group) {
  stream.copy(model_.weights->matrix(group.kind, group.layer_idx).packed.data(),
              group.original.data(), group.original.bytes());
}

void MergedWeights::merge(device::Stream& compute, const batch::Batch& batch,
                          const memory::Arena& arena, uint64_t adapter_id) {
  if (adapter_id == merged_id_) return;
  for (const Group& group : groups_) {
    if (adapter_id == 0) {
      restore(compute, group);
      continue;
    }
    const forward::Matrix& matrix = model_.weights->matrix(group.kind, group.layer_idx);
    kernels::LoraMergeParams params{};
    params.batch = batch.lora;
    params.original = group.original.data();
    params.merged = matrix.packed.data();
    params.weight_dtype = params.page_dtype = model_.weights->dtype();
    params.n = matrix.n;
    params.k = matrix.k;
    params.layer_idx = group.layer_idx;
    SLORA_CHECK(group.modules.size() <= kernels::kMaxFusedModules);
    for (const int32_t module_idx : group.modules) {
      const model::LinearModule& module = model_.modules->modules[static_cast<size_t>(module_idx)];
      params.module_idx[params.num_fused] = module_idx;
      params.out_dim[params.num_fused] = module.out_dim;
      params.column_offset[params.num_fused++] = module.column_offset;
    }
    params.slice = arena.slice(group.layer_idx);
    params.page_bytes = arena.geometry().page_bytes;
    forward::expect_launched(backend_.kernels->lora_merge(compute.handle(), &params), "lora_merge");
  }
  merged_id_ = adapter_id;
}

}  // namespace slora::ablation
