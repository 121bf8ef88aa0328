// Reads a .tulle file: FlatBuffers' verifier first, then every number that is used as an index or a size.
//
// What passes here is well formed: indices lie in range, sizes agree, lists have the length their op needs. Whether
// shapes fit together is the planner's business, op by op.

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "format/tulle_generated.h"
#include "runtime/net.h"

namespace fb = tulle::format;

// The lists in C are those of the schema, value by value.
#define SAME(c_enum, fb_enum, name) static_assert(int(c_enum) == int(fb::fb_enum##_##name), "C and tulle.fbs disagree")
#define ALL(prefix, fb_enum) \
  static_assert(int(prefix##_COUNT) == int(fb::fb_enum##_MAX) + 1, "C lacks a " #fb_enum " of tulle.fbs")
#define OP(c_name, name, ...) SAME(TULLE_OP_##c_name, OpKind, name);
#include "ops/ops.inc"
#undef OP
ALL(TULLE_OP, OpKind);
#define X(c_name, name) SAME(c_name, Activation, name);
TULLE_ACTIVATIONS(X)
#undef X
ALL(TULLE_ACT, Activation);
#define X(c_name, name) SAME(c_name, ValueType, name);
TULLE_VALUE_TYPES(X)
#undef X
ALL(TULLE_TYPE, ValueType);
#define X(c_name, name) SAME(c_name, Encoding, name);
TULLE_ENCODINGS(X)
#undef X
ALL(TULLE_ENCODING, Encoding);
#define X(c_name, name) SAME(c_name, PadMode, name);
TULLE_PAD_MODES(X)
#undef X
ALL(TULLE_PAD, PadMode);
#undef ALL
#undef SAME

namespace {

constexpr uint32_t kVersion = 1;
constexpr char kQuantizedIo[] = "quantized_io";

struct Reader {
  tulle_net* net;
  char* message;
  size_t message_size;
  uint64_t referenced, unpacked;  // bytes that may still be, see net.h
  bool quantized_io = false;      // the file names that feature

  // Says what is wrong; returns false for the caller to hand on.
  __attribute__((format(printf, 2, 3))) bool fail(const char* format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(message, message_size, format, args);
    va_end(args);
    return false;
  }

  template <typename T>
  T* array(size_t count) {
    return static_cast<T*>(calloc(count ? count : 1, sizeof(T)));
  }

  // Counts bytes that a table points at.
  bool refer(uint64_t bytes) {
    if (bytes > referenced) return fail("the file is damaged: its names and weights overlap");
    referenced -= bytes;
    return true;
  }

  bool refer(const flatbuffers::String* name) { return !name || refer(name->size()); }

  // Counts the weights that an op reads (or an output shows), which are unpacked for it.
  bool unpack(const tulle_tensor* tensor) {
    const uint64_t bytes = tensor->is_constant ? 4 * uint64_t(tensor->elements) : 0;
    if (bytes > unpacked)
      return fail("tensor '%s': unpacked, the weights are out of proportion to the file's size", tensor->name);
    unpacked -= bytes;
    return true;
  }

  bool constant(const char* name, const fb::Constant* from, tulle_tensor* tensor);
  bool integer_values(const char* name, const fb::Constant* from, tulle_tensor* tensor);
  bool quantization(const char* name, const char* what, const fb::Quantization* from, tulle_quantization* to);
  bool tensor(uint32_t index, const fb::Tensor* from, tulle_tensor* to);
  bool op(uint32_t index, const fb::Op* from, tulle_op* to);
  bool checksum(const uint8_t* data, size_t size);
  bool model(const fb::Model* from);
};

bool Reader::constant(const char* name, const fb::Constant* from, tulle_tensor* tensor) {
  tulle_constant* to = &tensor->constant;
  const auto* values = from->values();
  const auto* index = from->index();
  const auto* scales = from->scales();
  const auto* zero_points = from->zero_points();
  if (from->type() > fb::ValueType_MAX || from->encoding() > fb::Encoding_MAX)
    return fail("tensor '%s': unknown value type %d or encoding %d", name, from->type(), from->encoding());
  to->type = from->type();
  to->encoding = from->encoding();
  to->count = from->count();
  const size_t width = to->type == fb::ValueType_fp32 ? 4 : to->type == fb::ValueType_fp16 ? 2 : 1;
  if (!values || uint64_t(to->count) * width != values->size())
    return fail("tensor '%s': %u bytes of values where %u values of %u bytes were announced", name,
                values ? values->size() : 0, to->count, unsigned(width));
  if (!refer(values->size() + uint64_t(index ? index->size() : 0) + 4 * uint64_t(scales ? scales->size() : 0) +
             uint64_t(zero_points ? zero_points->size() : 0)))
    return false;
  to->values = values->data();
  to->index = index ? index->data() : nullptr;
  to->index_size = index ? index->size() : 0;

  uint64_t nonzeros = 0;
  if (to->encoding == fb::Encoding_dense) {
    nonzeros = tensor->elements;
  } else if (to->encoding == fb::Encoding_bitmask) {
    if (to->index_size != (uint64_t(tensor->elements) + 7) / 8)
      return fail("tensor '%s': its bitmask has %u bytes, its shape needs %u", name, unsigned(to->index_size),
                  unsigned((uint64_t(tensor->elements) + 7) / 8));
    for (size_t i = 0; i < to->index_size; i += 8) {
      uint64_t bits = 0;
      memcpy(&bits, to->index + i, to->index_size - i < 8 ? to->index_size - i : 8);
      nonzeros += unsigned(__builtin_popcountll(bits));
    }
    if (tensor->elements % 8 && to->index[to->index_size - 1] >> (tensor->elements % 8))
      return fail("tensor '%s': its bitmask has bits set beyond the last element", name);
  } else {
    uint64_t element = 0;
    for (size_t i = 0; i < to->index_size; i++) {
      // Fillers (255) are bounded too: unpacking writes a zero for every element that is skipped.
      const bool has_value = to->index[i] != 255;
      element += to->index[i] + has_value;
      if (element > tensor->elements) return fail("tensor '%s': its deltas lead beyond the last element", name);
      nonzeros += has_value;
    }
  }
  if (nonzeros != to->count)
    return fail("tensor '%s': %u values stored where its index needs %u", name, to->count, unsigned(nonzeros));

  return to->type == fb::ValueType_fp32 || to->type == fb::ValueType_fp16 || integer_values(name, from, tensor);
}

// The scales and zero points of int8 and uint8 values.
bool Reader::integer_values(const char* name, const fb::Constant* from, tulle_tensor* tensor) {
  tulle_constant* to = &tensor->constant;
  const auto* scales = from->scales();
  if (!scales || scales->size() == 0) return fail("tensor '%s': integer values without scales", name);
  to->scales = scales->data();
  to->scale_count = scales->size();
  for (uint32_t i = 0; i < to->scale_count; i++)
    if (!std::isfinite(to->scales[i])) return fail("tensor '%s': scale %u is not finite", name, i);
  const uint32_t first = tensor->rank ? tensor->shape[0] : 1;
  const uint32_t last = tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
  if (to->scale_count == 1) {
    to->scale_run = tensor->elements;
  } else if (to->scale_count == first) {
    to->scale_run = tensor->elements / first;
  } else if (to->scale_count == last) {
    to->scale_run = 1;
  } else {
    return fail("tensor '%s': %u scales fit neither its first nor its last dimension", name, to->scale_count);
  }
  if (to->type == fb::ValueType_int8) return true;
  const auto* zero_points = from->zero_points();
  if (!zero_points || zero_points->size() != to->scale_count)
    return fail("tensor '%s': %u zero points for %u scales", name, zero_points ? zero_points->size() : 0,
                to->scale_count);
  to->zero_points = zero_points->data();
  return true;
}

// `what`: how messages name it.
bool Reader::quantization(const char* name, const char* what, const fb::Quantization* from, tulle_quantization* to) {
  const bool is_signed = from->type() == fb::ValueType_int8;
  if (!is_signed && from->type() != fb::ValueType_uint8)
    return fail("tensor '%s': %s of type %d, not int8 or uint8", name, what, from->type());
  const int32_t least = is_signed ? -128 : 0;
  if (!std::isfinite(from->scale()) || !(from->scale() > 0) || from->zero_point() < least ||
      from->zero_point() > least + 255)
    return fail("tensor '%s': scale %g and zero point %d are no %s", name, double(from->scale()), from->zero_point(),
                what);
  *to = {from->type(), from->scale(), from->zero_point()};
  return true;
}

bool Reader::tensor(uint32_t index, const fb::Tensor* from, tulle_tensor* to) {
  if (!from || !from->name() || !from->shape()) return fail("tensor %u has no name or no shape", index);
  if (!refer(from->name())) return false;
  to->name = from->name()->c_str();
  to->rank = from->shape()->size();
  if (to->rank > TULLE_MAX_RANK)
    return fail("tensor '%s' has %u dimensions; at most %u", to->name, to->rank, TULLE_MAX_RANK);
  uint64_t elements = 1;
  for (uint32_t d = 0; d < to->rank; d++) {
    const int32_t size = from->shape()->Get(d);
    if (size < 1 || uint32_t(size) > TULLE_MAX_ELEMENTS)
      return fail("tensor '%s': dimension %u is %d", to->name, d, size);
    to->shape[d] = uint32_t(size);
    elements *= uint32_t(size);
    if (elements > TULLE_MAX_ELEMENTS)
      return fail("tensor '%s' has more than %u elements", to->name, TULLE_MAX_ELEMENTS);
  }
  to->elements = uint32_t(elements);
  if (from->layout() > fb::Layout_MAX) return fail("tensor '%s': unknown layout %d", to->name, from->layout());
  to->chw = from->layout() == fb::Layout_chw;
  if (to->chw && (to->rank != 4 || to->shape[0] != 1))
    return fail("tensor '%s' is chw but not of shape [1, H, W, C]", to->name);
  to->mean = from->input_mean();
  to->std = from->input_std();
  if (!std::isfinite(to->mean) || !std::isfinite(to->std) || to->std == 0)
    return fail("tensor '%s': mean %g and std %g cannot normalise an image", to->name, double(to->mean),
                double(to->std));
  if (from->quantization()) {
    if (!quantized_io)
      return fail("tensor '%s' has a quantization, but the file lacks the feature '%s'", to->name, kQuantizedIo);
    if (!quantization(to->name, "quantization", from->quantization(), &to->quantization)) return false;
  }
  if (from->levels()) {
    if (from->constant()) return fail("tensor '%s' is constant and has levels", to->name);
    if (!quantization(to->name, "levels", from->levels(), &to->levels)) return false;
  }
  if (from->constant()) {
    if (to->chw) return fail("tensor '%s' is constant and chw; constants are plain", to->name);
    to->is_constant = true;
    return constant(to->name, from->constant(), to);
  }
  return true;
}

// Copies a list of at most `most` numbers. Absent is empty.
bool copy_list(const flatbuffers::Vector<int32_t>* from, uint32_t most, int32_t* to, uint32_t* count) {
  if (!from) return true;
  if (from->size() > most) return false;
  *count = from->size();
  for (uint32_t i = 0; i < *count; i++) to[i] = from->Get(i);
  return true;
}

bool Reader::op(uint32_t index, const fb::Op* from, tulle_op* to) {
  if (!from || !from->inputs() || !from->outputs()) return fail("op %u has no inputs or no outputs", index);
  if (from->kind() > fb::OpKind_MAX)
    return fail(
        "op %u is of kind %d, which this version of tulle does not know: convert the model again or update tulle",
        index, from->kind());
  to->kind = tulle_op_kind(from->kind());
  to->kind_name = fb::EnumNameOpKind(from->kind());
  if (!refer(from->name())) return false;
  to->name = from->name() ? from->name()->c_str() : "";
  to->input_count = from->inputs()->size();
  if (to->input_count < 1 || to->input_count > TULLE_MAX_OP_INPUTS)
    return fail("%s '%s' has %u inputs; 1 to %d are possible", to->kind_name, to->name, to->input_count,
                TULLE_MAX_OP_INPUTS);
  for (uint32_t i = 0; i < to->input_count; i++) {
    to->inputs[i] = from->inputs()->Get(i);
    if (to->inputs[i] < (i ? -1 : 0) || to->inputs[i] >= int32_t(net->tensor_count))
      return fail("%s '%s': input %u names tensor %d of %u", to->kind_name, to->name, i, to->inputs[i],
                  net->tensor_count);
  }
  if (from->outputs()->size() != 1)
    return fail("%s '%s' has %u outputs, not 1", to->kind_name, to->name, from->outputs()->size());
  to->output = from->outputs()->Get(0);
  if (to->output < 0 || to->output >= int32_t(net->tensor_count))
    return fail("%s '%s': its output names tensor %d of %u", to->kind_name, to->name, to->output, net->tensor_count);
#define FIELD(type, field) to->field = from->field();
#define ENUM(schema_enum, field)                                                           \
  if (from->field() > fb::schema_enum##_MAX)                                               \
    return fail("%s '%s': unknown " #field " %d", to->kind_name, to->name, from->field()); \
  to->field = from->field();
#include "format/op_fields.inc"
#undef FIELD
#undef ENUM
  if (from->sparsity() > fb::Sparsity_MAX)
    return fail("%s '%s': unknown sparsity %d", to->kind_name, to->name, from->sparsity());
  to->sparse = from->sparsity() == fb::Sparsity_sparse;
  if (!to->kernel_h || !to->kernel_w || !to->stride_h || !to->stride_w || !to->dilation_h || !to->dilation_w)
    return fail("%s '%s': a kernel size, stride or dilation is 0", to->kind_name, to->name);
  const auto* list = to->kind == TULLE_OP_TRANSPOSE ? from->perm()
                     : to->kind == TULLE_OP_SLICE   ? from->begin()
                     : to->kind == TULLE_OP_PAD     ? from->pads()
                                                    : from->axes();
  if (!copy_list(list, to->kind == TULLE_OP_PAD ? 2 * TULLE_MAX_RANK : TULLE_MAX_RANK, to->list, &to->list_count) ||
      !copy_list(from->strides(), TULLE_MAX_RANK, to->strides, &to->strides_count))
    return fail("%s '%s': an attribute list is too long", to->kind_name, to->name);
  return true;
}

// Whether the file's bytes are those that were written. Older files have no checksum.
bool Reader::checksum(const uint8_t* data, size_t size) {
  const uint8_t* field = flatbuffers::GetRoot<flatbuffers::Table>(data)->GetAddressOf(fb::Model::VT_CHECKSUM);
  if (!field) return true;
  const uint32_t stored = *fb::GetModel(data)->checksum(), computed = tulle_checksum(data, size, size_t(field - data));
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  return true;
#endif
  if (computed == stored) return true;
  return fail(
      "the .tulle file is damaged: its checksum is %08x, not %08x as when it was written; fetch or convert it "
      "again",
      computed, stored);
}

bool Reader::model(const fb::Model* from) {
  if (from->version() > kVersion)
    return fail("the file has format version %u, this tulle reads up to %u: update tulle", from->version(), kVersion);
  if (from->features()) {
    for (uint32_t i = 0; i < from->features()->size(); i++) {
      const auto* feature = from->features()->Get(i);
      if (!feature || strcmp(feature->c_str(), kQuantizedIo))
        return fail("the file needs the feature '%s', which this tulle does not have: update tulle",
                    feature ? feature->c_str() : "");
      quantized_io = true;
    }
  }
  net->name = from->name() ? from->name()->c_str() : "";
  net->tensor_count = from->tensors()->size();
  net->op_count = from->ops()->size();
  net->input_count = from->inputs()->size();
  net->output_count = from->outputs()->size();
  if (net->tensor_count > TULLE_MAX_RECORDS || net->op_count > TULLE_MAX_RECORDS ||
      net->input_count > TULLE_MAX_RECORDS || net->output_count > TULLE_MAX_RECORDS)
    return fail("the model has more than %u tensors or ops", TULLE_MAX_RECORDS);
  if (!net->output_count) return fail("the model has no outputs");
  net->tensors = array<tulle_tensor>(net->tensor_count);
  net->ops = array<tulle_op>(net->op_count);
  net->inputs = array<uint32_t>(net->input_count);
  net->outputs = array<uint32_t>(net->output_count);
  // known[i]: tensor i has a value by now.
  bool* known = array<bool>(net->tensor_count);
  if (!net->tensors || !net->ops || !net->inputs || !net->outputs || !known) {
    free(known);
    return fail("out of memory");
  }
  bool ok = true;
  for (uint32_t i = 0; ok && i < net->tensor_count; i++) {
    ok = tensor(i, from->tensors()->Get(i), &net->tensors[i]);
    known[i] = net->tensors[i].is_constant;
  }
  for (uint32_t i = 0; ok && i < net->input_count; i++) {
    const uint32_t t = net->inputs[i] = from->inputs()->Get(i);
    if (t >= net->tensor_count || known[t] || net->tensors[t].chw) {
      ok = fail("model input %u names tensor %u: not there, constant, chw or named twice", i, t);
    } else {
      known[t] = true;
      ok = refer(from->tensors()->Get(t)->name());
    }
  }
  for (uint32_t i = 0; ok && i < net->op_count; i++) {
    tulle_op* o = &net->ops[i];
    ok = op(i, from->ops()->Get(i), o);
    for (uint32_t j = 0; ok && j < o->input_count; j++) {
      if (o->inputs[j] >= 0 && !known[o->inputs[j]])
        ok = fail("%s '%s' reads tensor '%s' before it is computed", o->kind_name, o->name,
                  net->tensors[o->inputs[j]].name);
      ok = ok && (o->inputs[j] < 0 || unpack(&net->tensors[o->inputs[j]]));
    }
    if (ok && known[o->output])
      ok = fail("%s '%s' writes tensor '%s', which has a value already", o->kind_name, o->name,
                net->tensors[o->output].name);
    if (ok) known[o->output] = true;
  }
  for (uint32_t i = 0; ok && i < net->output_count; i++) {
    const uint32_t t = net->outputs[i] = from->outputs()->Get(i);
    if (t >= net->tensor_count || !known[t] || net->tensors[t].chw)
      ok = fail("model output %u names tensor %u: not there, never computed or chw", i, t);
    else
      ok = refer(from->tensors()->Get(t)->name()) && unpack(&net->tensors[t]);
  }
  free(known);
  return ok;
}

// What files that are given instead begin with; `data` has at least 12 bytes.
const char* what_it_is(const uint8_t* data) {
  if (!memcmp(data + 4, "TFL3", 4)) return "this is a .tflite file: convert it with `tulle convert` first";
  // Protocol buffers: the version of the format, then the producer's name or a field of another model.
  if (data[0] == 8 && data[1] < 32 && (data[2] == 0x12 || data[2] == 0x3a))
    return "this is an .onnx file: convert it with `tulle convert` first";
  if (!memcmp(data, "PK\3\4", 4)) return "this is a zip archive: take the model out of it and convert it";
  if (!memcmp(data, "version https", 12))
    return "this is a pointer of Git LFS: fetch the file itself with `git lfs pull`";
  for (int i = 0; i < 12; i++) {
    if (data[i] == '<') return "this is a web page: there may be no file at this address";
    if (data[i] > ' ' && data[i] < 0x80) break;  // blanks and a byte order mark may come first
  }
  return "it does not begin with the TULL identifier";
}

}  // namespace

bool tulle_net_read(const void* bytes, size_t size, tulle_net* net, char* message, size_t message_size) {
  memset(net, 0, sizeof *net);
  Reader reader{net, message, message_size, uint64_t(size) * TULLE_REFERENCED_PER_BYTE + TULLE_REFERENCED_FREE,
                uint64_t(size) * TULLE_UNPACKED_PER_BYTE + TULLE_UNPACKED_FREE};
  const uint8_t* data = static_cast<const uint8_t*>(bytes);
  if (!data || size < 12) return reader.fail("not a .tulle file: only %u bytes", unsigned(size));
  if (!fb::ModelBufferHasIdentifier(data)) return reader.fail("not a .tulle file: %s", what_it_is(data));
  if (size >= FLATBUFFERS_MAX_BUFFER_SIZE) return reader.fail("the file is larger than 2 GB");
  flatbuffers::Verifier verifier(data, size, 16, 1 << 20);
  if (!fb::VerifyModelBuffer(verifier))
    return reader.fail("the .tulle file is damaged or cut short (%u bytes)", unsigned(size));
  if (reader.checksum(data, size) && reader.model(fb::GetModel(data))) return true;
  tulle_net_free(net);
  return false;
}

void tulle_net_free(tulle_net* net) {
  free(net->tensors);
  free(net->ops);
  free(net->inputs);
  free(net->outputs);
  memset(net, 0, sizeof *net);
}
