// What libFuzzer tries next (see fuzz_target.c): it changes the tables of a valid file (FlatBuffers' object API), since
// hardly any file whose bytes were changed at random gets past the verifier. Several changes that only make sense
// together are made together.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#define FLATBUFFERS_MAX_ALIGNMENT 64  // that of weights
#include "schema/tulle_generated.h"   // made with --gen-object-api

namespace fb = tulle::format;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using Random = std::minstd_rand;

uint32_t draw(Random& random, uint32_t below) { return below ? uint32_t(random() % below) : 0; }

template <typename List>
auto& pick(Random& random, List& list) {
  return list[draw(random, uint32_t(list.size()))];
}

// A number near the old one, or one of those at which things break.
template <typename T>
T number(Random& random, T old) {
  static const int64_t odd[] = {0,
                                1,
                                2,
                                3,
                                4,
                                5,
                                7,
                                8,
                                16,
                                17,
                                127,
                                128,
                                255,
                                256,
                                32767,
                                65535,
                                65536,
                                1 << 20,
                                -1,
                                -2,
                                1 << 28,
                                0x7fffffff,
                                -0x7fffffff - 1ll,
                                0xffffffffll};
  switch (draw(random, 4)) {
    case 0:
      return T(old + 1);
    case 1:
      return T(old - 1);
    case 2:
      return T(draw(random, 20));
    default:
      return T(odd[draw(random, sizeof odd / sizeof *odd)]);
  }
}

float real(Random& random) {
  static const float odd[] = {0, -0.0f, 1, -1, 0.5f, 1e-40f, 1e30f, -1e30f, 1e-30f, 255, INFINITY, -INFINITY, NAN, 3};
  return odd[draw(random, sizeof odd / sizeof *odd)];
}

template <typename T>
void change_list(Random& random, std::vector<T>& list) {
  switch (list.empty() ? 0 : draw(random, 5)) {
    case 0:
      list.push_back(T(draw(random, 8)));
      break;
    case 1:
      list.pop_back();
      break;
    case 2:
      std::swap(pick(random, list), pick(random, list));
      break;
    default: {
      T& value = pick(random, list);
      value = number(random, value);
    }
  }
}

uint64_t elements(const fb::TensorT& tensor) {
  uint64_t product = 1;
  for (const int32_t size : tensor.shape) product = std::min<uint64_t>(product * uint32_t(size), 1 << 20);
  return product;
}

// Values for a tensor's shape, well formed in one of the encodings.
void fill(Random& random, fb::TensorT& tensor) {
  const uint64_t count = elements(tensor);
  if (count > 20000) return;
  auto constant = std::make_unique<fb::ConstantT>();
  constant->type = fb::ValueType(draw(random, 4));
  constant->encoding = fb::Encoding(draw(random, 3));
  const size_t width = constant->type == fb::ValueType_fp32 ? 4 : constant->type == fb::ValueType_fp16 ? 2 : 1;
  const uint32_t zeros = draw(random, 101);  // per cent
  uint32_t skipped = 0;
  if (constant->encoding == fb::Encoding_bitmask) constant->index.resize((count + 7) / 8);
  for (uint64_t i = 0; i < count; i++) {
    if (constant->encoding != fb::Encoding_dense && draw(random, 100) < zeros) {
      if (++skipped == 255 && constant->encoding == fb::Encoding_delta) constant->index.push_back(255), skipped = 0;
      continue;
    }
    if (constant->encoding == fb::Encoding_bitmask) constant->index[i / 8] |= uint8_t(1 << i % 8);
    if (constant->encoding == fb::Encoding_delta) constant->index.push_back(uint8_t(skipped));
    skipped = 0;
    constant->count++;
    const float value = float(int(draw(random, 200)) - 100) / 64;
    const uint16_t half = uint16_t(0x3000 + draw(random, 0xc00));
    const int8_t byte = int8_t(draw(random, 256));
    const void* from = width == 4   ? static_cast<const void*>(&value)
                       : width == 2 ? static_cast<const void*>(&half)
                                    : &byte;
    constant->values.insert(constant->values.end(), static_cast<const uint8_t*>(from),
                            static_cast<const uint8_t*>(from) + width);
  }
  if (width == 1) {
    const int32_t first = tensor.shape.empty() ? 1 : tensor.shape.front(),
                  last = tensor.shape.empty() ? 1 : tensor.shape.back();
    const int32_t choices[] = {1, first, last};
    constant->scales.assign(size_t(std::clamp(choices[draw(random, 3)], 0, 20000)), 0.01f);
    if (constant->type == fb::ValueType_uint8)
      constant->zero_points.assign(constant->scales.size(), uint8_t(draw(random, 256)));
  }
  tensor.constant = std::move(constant);
}

void change_constant(Random& random, fb::TensorT& tensor) {
  fb::ConstantT& constant = *tensor.constant;
  switch (draw(random, 11)) {
    case 0:
      constant.type = fb::ValueType(draw(random, 5));
      break;
    case 1:
      constant.encoding = fb::Encoding(draw(random, 4));
      break;
    case 2:
      constant.count = number(random, constant.count);
      break;
    case 3:
      change_list(random, constant.values);
      break;
    case 4:
      change_list(random, constant.index);
      break;
    case 5:
      change_list(random, constant.scales);
      break;
    case 6:
      if (!constant.scales.empty()) pick(random, constant.scales) = real(random);
      change_list(random, constant.zero_points);
      break;
    case 7:  // fillers that go together with nothing else
      constant.encoding = fb::Encoding_delta;
      constant.index.insert(constant.index.end(), draw(random, 40), 255);
      break;
    default:
      fill(random, tensor);
  }
}

// One size for another wherever it occurs, so that shapes still fit together.
void resize(Random& random, fb::ModelT& model) {
  const auto& some = pick(random, model.tensors);
  if (some->shape.empty()) return;
  const int32_t from = pick(random, some->shape);
  const int32_t to = draw(random, 4) ? int32_t(1 + draw(random, 40)) : number(random, from);
  for (auto& tensor : model.tensors) {
    bool changed = false;
    for (int32_t& size : tensor->shape) {
      if (size == from) size = to, changed = true;
    }
    if (changed && tensor->constant) fill(random, *tensor);
  }
}

void change_tensor(Random& random, fb::TensorT& tensor) {
  switch (draw(random, 9)) {
    case 0:
      tensor.layout = fb::Layout(draw(random, 3));
      break;
    case 1:
      tensor.input_mean = real(random);
      tensor.input_std = real(random);
      break;
    case 2:
      tensor.name.assign(draw(random, 4) ? draw(random, 4) : draw(random, 3000), char(draw(random, 256)));
      break;
    case 3:
      if (tensor.constant && draw(random, 3) == 0)
        tensor.constant.reset();
      else
        fill(random, tensor);
      break;
    case 4:
      if (tensor.constant) change_constant(random, tensor);
      break;
    case 5: {
      auto& quantization = draw(random, 3) ? tensor.levels : tensor.quantization;
      quantization = std::make_unique<fb::QuantizationT>();
      quantization->type = fb::ValueType(draw(random, 4) ? 2 + draw(random, 2) : draw(random, 6));
      quantization->scale = draw(random, 4) ? 0.02f : real(random);
      quantization->zero_point = draw(random, 4) ? int32_t(draw(random, 128)) : number(random, 0);
      break;
    }
    default:
      change_list(random, tensor.shape);
  }
}

void change_op(Random& random, fb::OpT& op, uint32_t tensor_count) {
  uint16_t* const shorts[] = {&op.kernel_h, &op.kernel_w, &op.stride_h,   &op.stride_w,  &op.dilation_h, &op.dilation_w,
                              &op.pad_top,  &op.pad_left, &op.pad_bottom, &op.pad_right, &op.block};
  std::vector<int32_t>* const lists[] = {&op.axes, &op.begin, &op.strides, &op.perm, &op.pads};
  float* const reals[] = {&op.alpha, &op.pad_value, &op.beta};
  switch (draw(random, 14)) {
    case 0:
      op.kind = fb::OpKind(draw(random, fb::OpKind_MAX + 2));
      break;
    case 1:
      if (!op.inputs.empty()) pick(random, op.inputs) = int32_t(draw(random, tensor_count + 2)) - 1;
      break;
    case 2:
      change_list(random, op.inputs);
      break;
    case 3:
      if (!op.outputs.empty()) pick(random, op.outputs) = int32_t(draw(random, tensor_count + 1));
      break;
    case 4:
      op.activation = fb::Activation(draw(random, fb::Activation_MAX + 2));
      break;
    case 5:
      op.sparsity = fb::Sparsity(draw(random, 3));
      op.pad_mode = fb::PadMode(draw(random, 4));
      break;
    case 6:
      op.axis = draw(random, 2) ? int32_t(draw(random, 9)) - 4 : number(random, op.axis);
      break;
    case 7:
      op.align_corners = draw(random, 2);
      op.half_pixel_centers = draw(random, 2);
      break;
    case 8:
      *reals[draw(random, 3)] = real(random);
      break;
    case 9:
    case 10:
      change_list(random, *lists[draw(random, 5)]);
      break;
    default: {
      uint16_t* const value = shorts[draw(random, 11)];
      *value = number(random, *value);
    }
  }
}

// An op more, reading what there is, whose output has the shape of its input.
void add_op(Random& random, fb::ModelT& model) {
  auto tensor = std::make_unique<fb::TensorT>();
  auto op = std::make_unique<fb::OpT>();
  const uint32_t from = draw(random, uint32_t(model.tensors.size()));
  tensor->name = "new";
  tensor->shape = model.tensors[from]->shape;
  tensor->layout = draw(random, 4) ? model.tensors[from]->layout : fb::Layout(draw(random, 2));
  if (const auto& levels = model.tensors[from]->levels; levels && draw(random, 4))
    tensor->levels = std::make_unique<fb::QuantizationT>(*levels);
  op->kind = fb::OpKind(draw(random, fb::OpKind_MAX + 1));
  op->activation = fb::Activation(draw(random, fb::Activation_MAX + 1));
  op->inputs.push_back(int32_t(from));
  for (uint32_t more = draw(random, 3); more; more--)
    op->inputs.push_back(int32_t(draw(random, uint32_t(model.tensors.size()))));
  op->outputs.push_back(int32_t(model.tensors.size()));
  if (draw(random, 2)) model.outputs.push_back(uint32_t(model.tensors.size()));
  model.tensors.push_back(std::move(tensor));
  model.ops.push_back(std::move(op));
}

void change(Random& random, fb::ModelT& model) {
  const uint32_t what = draw(random, 20);
  const bool has_ops = !model.ops.empty(), has_tensors = !model.tensors.empty();
  if (what < 7 && has_ops) {
    auto& op = pick(random, model.ops);
    change_op(random, *op, uint32_t(model.tensors.size()));
  } else if (what < 11 && has_tensors) {
    auto& tensor = pick(random, model.tensors);
    change_tensor(random, *tensor);
    if (tensor->quantization && draw(random, 8)) model.features = {"quantized_io"};
  } else if (what < 14 && has_tensors) {
    resize(random, model);
  } else if (what < 16 && has_tensors) {
    add_op(random, model);
  } else if (what == 16 && has_ops) {
    model.ops.erase(model.ops.begin() + draw(random, uint32_t(model.ops.size())));
  } else if (what == 17 && has_ops) {
    std::swap(pick(random, model.ops), pick(random, model.ops));
  } else if (what == 18) {
    change_list(random, draw(random, 2) ? model.inputs : model.outputs);
  } else if (what == 19) {
    if (draw(random, 2))
      model.version = number(random, model.version);
    else
      model.features.push_back(std::string(draw(random, 3), char(draw(random, 256))));
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Random random(seed);
  flatbuffers::Verifier verifier(data, size, 16, 1 << 20);
  if (draw(random, 10) == 0 || !fb::VerifyModelBuffer(verifier)) return LLVMFuzzerMutate(data, size, max_size);
  fb::ModelT model;
  fb::GetModel(data)->UnPackTo(&model);
  for (uint32_t changes = 1 + draw(random, 4); changes; changes--) change(random, model);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::Model::Pack(builder, &model), fb::ModelIdentifier());
  if (builder.GetSize() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  memcpy(data, builder.GetBufferPointer(), builder.GetSize());
  return builder.GetSize();
}
