// What the tests of every kind of group share: a rank with a device and a stream of its own, a
// plain reference in double, and a random program of operations that all ranks run.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "slora/comm/group.hpp"
#include "slora/core/dtype.hpp"
#include "slora/core/status.hpp"
#include "slora/device/device.hpp"
#include "slora/device/host_device.hpp"

namespace slora::comm::test {

using core::DType;

// A rank's device (one thread) and stream.
struct RankDevice {
  std::shared_ptr<device::Device> device =
      std::make_shared<device::Device>(device::host_device_api(), 0, 1);
  device::Stream stream{device, device::StreamKind::kCompute};
};

inline std::vector<uint8_t> stored(const std::vector<float>& values, DType dtype) {
  std::vector<uint8_t> bytes(values.size() * static_cast<size_t>(core::dtype_bytes(dtype)));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half =
        dtype == DType::kBF16 ? core::float_to_bf16(values[i]) : core::float_to_f16(values[i]);
    if (dtype == DType::kF32) {
      std::memcpy(&bytes[4 * i], &values[i], 4);
    } else {
      std::memcpy(&bytes[2 * i], &half, 2);
    }
  }
  return bytes;
}

// What rank `rank` brings to operation `number`: the same wherever it is computed.
inline std::vector<float> operand(uint32_t seed, uint32_t number, int32_t rank, int64_t count) {
  std::mt19937 random(seed * 7919u + number * 131u + static_cast<uint32_t>(rank));
  std::uniform_real_distribution<float> uniform(-4.0f, 4.0f);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(random);
  return values;
}

inline std::vector<uint8_t> noise(uint32_t seed, uint32_t number, int32_t rank, uint64_t bytes) {
  std::mt19937 random(seed * 104729u + number * 257u + static_cast<uint32_t>(rank));
  std::vector<uint8_t> out(bytes);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
  return out;
}

// Compares a sum with the sum in double of the stored operands: fp32 additions of up to 64 numbers
// below 4 err by less than 64 * 2^-24 * 256, the one rounding to the dtype by half its last place.
inline void expect_sum(const std::vector<uint8_t>& got, uint32_t seed, uint32_t number,
                       int32_t size, int64_t count, DType dtype) {
  std::vector<double> want(static_cast<size_t>(count));
  for (int32_t rank = 0; rank < size; ++rank) {
    const std::vector<uint8_t> bytes = stored(operand(seed, number, rank, count), dtype);
    for (int64_t i = 0; i < count; ++i)
      want[static_cast<size_t>(i)] += core::load_as_float(bytes.data(), dtype, i);
  }
  const double last_place = dtype == DType::kF32    ? 0x1p-24
                            : dtype == DType::kBF16 ? 0x1p-8
                                                    : 0x1p-11;
  for (int64_t i = 0; i < count; ++i) {
    const double exact = want[static_cast<size_t>(i)];
    ASSERT_NEAR(core::load_as_float(got.data(), dtype, i), exact,
                std::abs(exact) * last_place + 4.0 * size * size * 0x1p-24 + 0x1p-24)
        << "element " << i << " of " << count << " " << core::dtype_name(dtype) << ", operation "
        << number << " of " << size << " ranks";
  }
}

// Runs `num_operations` random operations as one rank and checks every result against the
// reference. The same seed gives every rank the same program.
inline void run_random_program(Group& group, RankDevice& rank_device, uint32_t seed,
                               uint32_t num_operations, int64_t largest = 3000) {
  std::mt19937 random(seed);
  const int32_t size = group.size();
  const int32_t tp_rank = group.tp_rank();
  device::Stream& stream = rank_device.stream;
  for (uint32_t number = 0; number < num_operations && !::testing::Test::HasFatalFailure();
       ++number) {
    const uint32_t kind = random() % 7;
    const auto count = static_cast<int64_t>(random() % static_cast<uint32_t>(largest));
    const auto bytes = static_cast<uint64_t>(count);
    const auto dtype = static_cast<DType>(random() % 3);
    const auto root = static_cast<int32_t>(random() % static_cast<uint32_t>(size));
    const bool is_in_place = random() % 2 == 0;
    if (kind <= 1) {
      std::vector<uint8_t> data = stored(operand(seed, number, tp_rank, count), dtype);
      group.all_reduce(stream.handle(), data.data(), count, dtype);
      stream.synchronize();
      expect_sum(data, seed, number, size, count, dtype);
    } else if (kind == 2) {
      std::vector<uint8_t> send = noise(seed, number, tp_rank, bytes);
      std::vector<uint8_t> recv(bytes * static_cast<uint64_t>(size));
      uint8_t* const place = recv.data() + bytes * static_cast<uint64_t>(tp_rank);
      if (is_in_place) std::copy(send.begin(), send.end(), place);
      group.all_gather(stream.handle(), is_in_place ? place : send.data(), recv.data(), bytes);
      stream.synchronize();
      std::vector<uint8_t> want;
      for (int32_t rank = 0; rank < size; ++rank) {
        const std::vector<uint8_t> part = noise(seed, number, rank, bytes);
        want.insert(want.end(), part.begin(), part.end());
      }
      ASSERT_EQ(recv, want) << "all_gather, operation " << number;
    } else if (kind == 3) {
      std::vector<uint8_t> data = noise(seed, number, tp_rank, bytes);
      group.broadcast(stream.handle(), data.data(), bytes, root);
      stream.synchronize();
      ASSERT_EQ(data, noise(seed, number, root, bytes)) << "broadcast, operation " << number;
    } else if (kind == 4) {
      std::vector<uint8_t> message = noise(seed, number, tp_rank, bytes);
      if (is_in_place && tp_rank != root) {
        group.await_message(message, root);
      } else {
        group.broadcast_message(message, root);
      }
      ASSERT_EQ(message, noise(seed, number, root, bytes)) << "message, operation " << number;
    } else if (kind == 5) {
      const auto all = group.all_gather_messages(
          noise(seed, number, tp_rank, bytes + static_cast<uint64_t>(tp_rank)));
      ASSERT_EQ(static_cast<int32_t>(all.size()), size);
      for (int32_t rank = 0; rank < size; ++rank) {
        ASSERT_EQ(all[static_cast<size_t>(rank)],
                  noise(seed, number, rank, bytes + static_cast<uint64_t>(rank)))
            << "messages, operation " << number;
      }
    } else {
      group.barrier();
    }
  }
}

// `body(group)` on a thread a rank; returns what each threw, "" for nothing.
inline std::vector<std::string> on_all_ranks(std::vector<std::unique_ptr<Group>>& groups,
                                             const std::function<void(Group&)>& body) {
  std::vector<std::string> thrown(groups.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < groups.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        body(*groups[i]);
      } catch (const core::Error& failure) {
        thrown[i] = failure.what();
        if (failure.status() != core::Status::kRankLost) thrown[i] += " [not kRankLost]";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return thrown;
}

}  // namespace slora::comm::test
