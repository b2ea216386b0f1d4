// Cuts an adapter for one rank of a tensor-parallel group, as the base's matrices are cut.
#pragma once

#include "slora/adapter/packed_image.hpp"
#include "slora/model/shard.hpp"

namespace slora::adapter {

// The rank's part of `whole`, whose modules are those of the whole model.
//
// Aligned: a column-parallel module keeps A and the rank's rows of B; a row-parallel one the rank's
// columns of A and B. Full: a column-parallel module keeps lora_ranks [R i / N, R (i + 1) / N) of A
// and the rank's rows of B; a row-parallel one the rank's columns of A and rows [H i / N, H (i + 1)
// / N) of B, as model::split_evenly cuts H. Factors and offsets belong to outputs; offsets of
// row-parallel modules, whose outputs are summed, are zero on all ranks but the first. Changes of
// embedding and head follow the vocabulary.
//
// Tensors are copied only where the part is not one run of theirs.
AdapterSource cut_adapter(const AdapterSource& whole, const model::ModelConfig& config,
                          const model::ShardSpec& shard);

// The most pages that any rank's part needs: what every rank reserves, so that their pools agree.
int32_t most_pages(const AdapterSource& whole, const model::ModelConfig& config,
                   const model::ShardSpec& shard, const model::ModuleTable& table,
                   const PageGeometry& geometry);

}  // namespace slora::adapter
