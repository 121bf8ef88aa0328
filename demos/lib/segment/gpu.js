// The compositor on the GPU, in WebGL2: two blur passes at the mask's size and one pass at the frame's.

import { EFFECTS, blurSigma, blurTaps, lightOf, mixedPlaces, withAlpha } from './composition.js';
import { BLUR, COMPOSE, COVER } from './shaders.js';

/** @typedef {import('./composition.js').Layer} Layer */

export class GpuCompositor {
  #gl;
  #blur;
  #compose;
  #textures;
  #targets;
  #maskSize = { width: 0, height: 0 };

  /** @returns {GpuCompositor | null} null where the browser offers no WebGL2 */
  static create() {
    const canvas = document.createElement('canvas');
    const gl = canvas.getContext('webgl2', { alpha: false, antialias: false, depth: false });
    return gl && new GpuCompositor(canvas, gl);
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {WebGL2RenderingContext} gl
   */
  constructor(canvas, gl) {
    /** Holds the result, at the size of the frame. */
    this.canvas = canvas;
    this.#gl = gl;
    this.#blur = program(gl, BLUR, ['flip', 'source', 'step', 'sigma', 'taps', 'first']);
    this.#compose = program(gl, COMPOSE, [
      'flip', 'frame', 'guide', 'mixed', 'blurred', 'background', 'light', 'effect', 'soft',
    ]);
    const make = () => texture(gl);
    this.#textures = {
      frame: make(), guide: make(), mixed: make(), across: make(), blurred: make(), background: make(), light: make(),
    };
    this.#targets = { across: gl.createFramebuffer(), blurred: gl.createFramebuffer() };
    gl.disable(gl.BLEND);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1); // rows of `mixed` have any length
    this.setBackground(black());
  }

  /** Whether the browser took the graphics context away; make another compositor then. */
  get lost() {
    return this.#gl.isContextLost();
  }

  /** Takes the next frame. @param {HTMLCanvasElement} frame */
  begin(frame) {
    if (this.canvas.width !== frame.width) this.canvas.width = frame.width;
    if (this.canvas.height !== frame.height) this.canvas.height = frame.height;
    this.#upload(this.#textures.frame, frame);
  }

  /** For the effect "replace", stretched to the frame. @param {HTMLCanvasElement} background */
  setBackground(background) {
    this.#upload(this.#textures.background, background);
    this.#upload(this.#textures.light, lightOf(background));
  }

  /** Draws some columns of the frame with one matte. @param {Layer} layer */
  draw({ input, alpha, effect, blur, soft, left, right }) {
    const gl = this.#gl;
    const { width, height } = this.canvas;
    this.#resizeMask(input.width, input.height);
    const guide = withAlpha(input, alpha);
    gl.bindTexture(gl.TEXTURE_2D, this.#textures.guide);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, input.width, input.height, gl.RGBA, gl.UNSIGNED_BYTE, guide);
    const mixed = mixedPlaces(guide, input.width, input.height);
    gl.bindTexture(gl.TEXTURE_2D, this.#textures.mixed);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, input.width + 1, input.height + 1, gl.RED, gl.UNSIGNED_BYTE, mixed);
    if (effect === 'blur' || effect === 'replace') this.#drawBlur(blurSigma(blur, this.canvas, input));

    const compose = this.#compose;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(left, 0, Math.max(0, right - left), height);
    gl.useProgram(compose.program);
    const read = { frame: 0, guide: 1, mixed: 2, blurred: 3, background: 4, light: 5 };
    for (const [name, unit] of /** @type {[keyof typeof read, number][]} */ (Object.entries(read))) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, this.#textures[name]);
      gl.uniform1i(compose.places[name], unit);
    }
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform1f(compose.places.flip, -1);
    gl.uniform1i(compose.places.effect, EFFECTS.indexOf(effect));
    gl.uniform1i(compose.places.soft, Number(soft));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.SCISSOR_TEST);
  }

  close() {
    this.#gl.getExtension('WEBGL_lose_context')?.loseContext(); // frees textures now, not at garbage collection
  }

  /** @param {{ x: number, y: number }} sigma in pixels of the mask */
  #drawBlur(sigma) {
    const gl = this.#gl;
    const { program: use, places } = this.#blur;
    gl.useProgram(use);
    gl.viewport(0, 0, this.#maskSize.width, this.#maskSize.height);
    gl.uniform1f(places.flip, 1);
    gl.uniform1i(places.source, 0);
    for (const { from, to, step, spread } of [
      { from: this.#textures.guide, to: this.#targets.across, step: [1, 0], spread: sigma.x },
      { from: this.#textures.across, to: this.#targets.blurred, step: [0, 1], spread: sigma.y },
    ]) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, to);
      gl.bindTexture(gl.TEXTURE_2D, from);
      gl.uniform2iv(places.step, step);
      gl.uniform1f(places.sigma, spread);
      gl.uniform1i(places.taps, blurTaps(spread));
      gl.uniform1i(places.first, Number(to === this.#targets.across));
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  #resizeMask(width, height) {
    if (this.#maskSize.width === width && this.#maskSize.height === height) return;
    this.#maskSize = { width, height };
    const gl = this.#gl;
    for (const name of /** @type {const} */ (['guide', 'across', 'blurred'])) {
      gl.bindTexture(gl.TEXTURE_2D, this.#textures[name]);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    }
    gl.bindTexture(gl.TEXTURE_2D, this.#textures.mixed);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, width + 1, height + 1, 0, gl.RED, gl.UNSIGNED_BYTE, null);
    for (const name of /** @type {const} */ (['across', 'blurred'])) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.#targets[name]);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.#textures[name], 0);
    }
  }

  /**
   * @param {WebGLTexture} target
   * @param {TexImageSource} source
   */
  #upload(target, source) {
    const gl = this.#gl;
    gl.bindTexture(gl.TEXTURE_2D, target);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, source);
  }
}

/** @param {WebGL2RenderingContext} gl */
function texture(gl) {
  const made = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, made);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
  for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
  return made;
}

/**
 * @param {WebGL2RenderingContext} gl
 * @param {string} fragment source of the fragment shader
 * @param {string[]} names of its uniforms
 */
function program(gl, fragment, names) {
  const made = gl.createProgram();
  for (const [kind, source] of /** @type {[GLenum, string][]} */ ([[gl.VERTEX_SHADER, COVER], [gl.FRAGMENT_SHADER, fragment]])) {
    const shader = gl.createShader(kind);
    if (!shader) break; // the context is lost
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
    gl.deleteShader(shader); // with the program
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`The graphics driver refuses a shader: ${gl.getProgramInfoLog(made)}`);
  }
  return { program: made, places: Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(made, name)])) };
}

function black() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  canvas.getContext('2d', { alpha: false }); // opaque: black
  return canvas;
}
