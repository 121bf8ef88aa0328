// Moving hands without a camera: still pictures of hands that rise from below and sway, as an animation for source.js.

/** @typedef {import('../lib/media.js').Animation} Animation */

const WIDTH = 640;
const HEIGHT = 360;
const SIDE = 300; // of a picture in the frame
const SHOW = 4; // seconds that a picture is shown
const FADE = 0.3; // seconds of the transition to the next
const FEATHER = 0.12; // width of the edges that fade into the background, as a share of a picture's side
const WALL = '#e9e6e4';

/** Where the hands are. The second one comes for a while and goes. */
const HANDS = [
  { x: 0.28, mirrored: false, first: 0, seconds: [0, Infinity] },
  { x: 0.74, mirrored: true, first: 3, seconds: [5, 13] },
];
const PERIOD = 16; // seconds until the second hand comes again

/**
 * @param {CanvasImageSource[]} pictures square ones, each of an upright right hand before a light wall, whose arm leaves
 *   at the bottom
 * @returns {Animation}
 */
export function movingHands(pictures) {
  const cards = pictures.map(cutOut);
  return {
    title: 'Moving pictures',
    width: WIDTH,
    height: HEIGHT,
    draw(context, width, height, seconds) {
      const turn = Math.floor(seconds / SHOW);
      const shown = Math.min(1, (seconds - turn * SHOW) / FADE);
      context.save();
      context.scale(width / WIDTH, height / HEIGHT);
      context.fillStyle = WALL;
      context.fillRect(0, 0, WIDTH, HEIGHT);
      context.globalCompositeOperation = 'multiply'; // keeps a hand visible under another picture's wall
      for (const hand of HANDS) {
        const time = seconds % PERIOD;
        if (time < hand.seconds[0] || time >= hand.seconds[1]) continue;
        const card = (/** @type {number} */ i) => cards[(hand.first + i) % cards.length];
        if (shown < 1 && turn > 0) drawHand(context, card(turn - 1), hand, seconds, 1 - shown);
        drawHand(context, card(turn), hand, seconds, turn > 0 ? shown : 1);
      }
      context.restore();
    },
  };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {CanvasImageSource} card
 * @param {{ x: number, mirrored: boolean }} hand
 * @param {number} seconds
 * @param {number} opacity
 */
function drawHand(context, card, { x, mirrored }, seconds, opacity) {
  const phase = x * 7;
  const angle = 0.16 * Math.sin(0.9 * seconds + phase);
  const scale = 1 + 0.08 * Math.sin(0.7 * seconds + 2 * phase);
  context.save();
  context.globalAlpha = opacity;
  context.translate(x * WIDTH + 34 * Math.sin(0.6 * seconds + phase), HEIGHT + 12);
  context.rotate(angle);
  context.scale(mirrored ? -scale : scale, scale);
  context.drawImage(card, -SIDE / 2, -SIDE, SIDE, SIDE);
  context.restore();
}

/**
 * The picture with its wall made white, and with soft edges at the left, top and right.
 * @param {CanvasImageSource} picture
 */
function cutOut(picture) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext('2d');
  if (!context) throw new Error('This browser gives no 2D canvas, which the demo needs to read pictures.');
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, SIDE, SIDE);
  whiten(context);
  context.globalCompositeOperation = 'destination-in';
  for (const [x0, y0, x1, y1] of [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]) {
    const gradient = context.createLinearGradient(x0 * SIDE, y0 * SIDE, x1 * SIDE, y1 * SIDE);
    gradient.addColorStop(0, 'transparent');
    gradient.addColorStop(FEATHER, 'black');
    context.fillStyle = gradient;
    context.fillRect(0, 0, SIDE, SIDE);
  }
  return canvas;
}

/**
 * Makes the wall white: colours are scaled so that the brightest tenth, which is wall, becomes white; then everything
 * that is neither coloured, like skin, nor dark fades to white.
 * @param {CanvasRenderingContext2D} context
 */
function whiten(context) {
  const image = context.getImageData(0, 0, SIDE, SIDE);
  const { data } = image;
  for (let channel = 0; channel < 3; channel++) {
    const counts = new Uint32Array(256);
    for (let i = channel; i < data.length; i += 4) counts[data[i]]++;
    let white = 255;
    for (let above = 0; white > 1 && (above += counts[white]) < 0.1 * SIDE * SIDE; ) white--;
    for (let i = channel; i < data.length; i += 4) data[i] = (data[i] * 255) / white; // clamps by itself
  }
  for (let i = 0; i < data.length; i += 4) {
    const highest = Math.max(data[i], data[i + 1], data[i + 2], 1);
    const lowest = Math.min(data[i], data[i + 1], data[i + 2]);
    const hand = Math.max(ramp(1 - lowest / highest, 0.08, 0.24), ramp(1 - highest / 255, 0.6, 0.8));
    for (let channel = 0; channel < 3; channel++) data[i + channel] = 255 - hand * (255 - data[i + channel]);
  }
  context.putImageData(image, 0, 0);
}

/**
 * 0 below `from`, 1 above `to`, smooth in between.
 * @param {number} value
 * @param {number} from
 * @param {number} to
 */
function ramp(value, from, to) {
  const t = Math.min(1, Math.max(0, (value - from) / (to - from)));
  return t * t * (3 - 2 * t);
}
