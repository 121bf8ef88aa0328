// The shaders of gpu.js. Rows of textures go downwards, as those of canvases do.

import { COLOUR_FLOOR, SIGMA_COLOUR, SIGMA_SPACE, TAPS, WRAP } from './composition.js';

const number = (/** @type {number} */ value) => value.toFixed(6);

/** Draws a triangle that covers everything; `at` goes from 0, 0 at the top left to 1, 1. */
export const COVER = `#version 300 es
uniform float flip; // -1 for the screen, whose rows go upwards
out vec2 at;
void main() {
  vec2 corner = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
  at = corner;
  vec2 place = corner * 2.0 - 1.0;
  gl_Position = vec4(place.x, place.y * flip, 0.0, 1.0);
}`;

/** One direction of the blur. Reads the guide (alpha: the matte) first, its own result (alpha: nearness) second. */
export const BLUR = `#version 300 es
precision highp float;
uniform sampler2D source;
uniform ivec2 step;
uniform float sigma;
uniform int taps;
uniform bool first; // of the two passes
in vec2 at;
out vec4 result;
void main() {
  ivec2 last = textureSize(source, 0) - 1;
  ivec2 here = ivec2(at * vec2(textureSize(source, 0)));
  vec4 sum = vec4(0.0);
  float weights = 0.0;
  for (int i = -taps; i <= taps; i++) {
    float weight = exp(-float(i * i) / (2.0 * sigma * sigma));
    vec4 texel = texelFetch(source, clamp(here + i * step, ivec2(0), last), 0);
    if (first) texel = vec4(texel.rgb, 1.0) * (1.0 - texel.a);
    sum += weight * texel;
    weights += weight;
  }
  result = sum / weights;
  if (!first) result.rgb /= max(result.a, 1.0 / 255.0);
}`;

export const COMPOSE = `#version 300 es
precision highp float;
uniform sampler2D frame;
uniform sampler2D guide;      // the frame at the mask's size, alpha: the matte
uniform sampler2D mixed;      // at each place between pixels of the mask, whether those around it differ
uniform sampler2D blurred;    // alpha: nearness
uniform sampler2D background;
uniform sampler2D light;      // of the background
uniform int effect;           // place in EFFECTS
uniform bool soft;
in vec2 at;
out vec4 result;

float matte(vec3 colour) {
  ivec2 size = textureSize(guide, 0);
  vec2 place = at * vec2(size) - 0.5;
  ivec2 corner = ivec2(floor(place));
  if (!soft) return texture(guide, at).a;
  if (texelFetch(mixed, corner + 1, 0).r == 0.0) return texelFetch(guide, clamp(corner, ivec2(0), size - 1), 0).a;
  float sum = 0.0;
  float weights = 0.0;
  for (int y = 0; y < ${TAPS}; y++) {
    for (int x = 0; x < ${TAPS}; x++) {
      ivec2 tap = corner + ivec2(x, y) - ${TAPS / 2 - 1};
      vec4 texel = texelFetch(guide, clamp(tap, ivec2(0), size - 1), 0);
      vec2 way = vec2(tap) - place;
      vec3 difference = texel.rgb - colour;
      float near = exp(-dot(way, way) / ${number(2 * SIGMA_SPACE ** 2)});
      float alike = exp(-dot(difference, difference) / ${number(2 * SIGMA_COLOUR ** 2)}) + ${number(COLOUR_FLOOR)};
      sum += near * alike * texel.a;
      weights += near * alike;
    }
  }
  return sum / weights;
}

void main() {
  vec3 person = texture(frame, at).rgb;
  if (effect == 3) { // none
    result = vec4(person, 1.0);
    return;
  }
  float alpha = matte(person);
  if (effect == 2) { // mask
    result = vec4(vec3(alpha), 1.0);
    return;
  }
  vec4 far = texture(blurred, at);
  vec3 behind = effect == 0 ? far.rgb : texture(background, at).rgb;
  vec3 shine = effect == 0 ? far.rgb : texture(light, at).rgb;
  vec3 rim = mix(person, shine, ${number(WRAP)} * far.a);
  result = vec4(mix(behind, rim, alpha), 1.0);
}`;
