// Sources of frames: a camera, a video, a picture, or an animation drawn by the page. source.js gives pages one
// interface to all of them.

/**
 * @typedef {object} Medium
 * @property {'camera' | 'video' | 'picture' | 'animation'} kind
 * @property {string} title for people
 * @property {boolean} mirrored whether frames are shown as in a mirror, as people expect from their own camera
 * @property {() => { width: number, height: number }} size in pixels; a phone that is turned changes its camera's
 * @property {(context: CanvasRenderingContext2D, width: number, height: number) => void} draw the present frame, scaled
 * @property {(onFresh: () => void) => () => void} watch calls back whenever there is a new frame; gives what ends that
 * @property {(onLost: () => void) => void} onLost calls back if the medium ends by itself, as an unplugged camera does
 * @property {() => void} play
 * @property {() => void} pause
 * @property {() => void} close frees everything it holds
 */

/**
 * Moving pictures made by the page: `draw` paints the frame at `seconds` from the start. It has to cover the canvas.
 * @typedef {object} Animation
 * @property {string} title
 * @property {number} width in pixels
 * @property {number} height
 * @property {(context: CanvasRenderingContext2D, width: number, height: number, seconds: number) => void} draw
 */

/**
 * The visitor's camera, the front one on a phone.
 * @param {string} title
 * @returns {Promise<Medium>} rejects with an Error fit for the visitor
 */
export async function openCamera(title = 'Camera') {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error('The browser gives no camera to this page. It needs an address that starts with https:// or localhost.');
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: 'user', width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 30 } },
    });
  } catch (error) {
    throw new Error(cameraTrouble(error), { cause: error });
  }
  const video = newVideo();
  video.srcObject = stream;
  const [track] = stream.getVideoTracks();
  const medium = videoMedium(video, 'camera', title, () => {
    for (const each of stream.getTracks()) each.stop();
    video.srcObject = null;
  });
  medium.mirrored = track.getSettings().facingMode !== 'environment';
  medium.onLost = (callback) => track.addEventListener('ended', callback, { once: true });
  return readyVideo(medium, video, 'The camera gives no pictures. Perhaps another program is using it.');
}

/** @param {unknown} error of getUserMedia */
function cameraTrouble(error) {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'The camera was not allowed.';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'No camera was found.';
  if (name === 'NotReadableError' || name === 'AbortError') {
    return 'The camera could not be started. Perhaps another program is using it.';
  }
  return `The camera could not be started: ${error instanceof Error ? error.message : error}`;
}

/**
 * A bundled video, muted and looping. It is fetched completely first, so that it can loop from any server.
 * @param {string | URL} url
 * @param {string} title
 * @returns {Promise<Medium>}
 */
export async function openClip(url, title) {
  const response = await fetch(url).catch(() => undefined);
  if (!response?.ok) {
    const reason = response ? `HTTP ${response.status}` : 'the server does not answer';
    throw new Error(`The clip ${url} could not be loaded: ${reason}.`);
  }
  return openVideo(await response.blob(), title);
}

/**
 * A picture or video file.
 * @param {File} file
 * @returns {Promise<Medium>}
 */
export function openFile(file) {
  return file.type.startsWith('video/') ? openVideo(file, file.name) : openPicture(file, file.name);
}

/**
 * @param {Blob} blob
 * @param {string} title
 * @returns {Promise<Medium>}
 */
function openVideo(blob, title) {
  const video = newVideo();
  const url = URL.createObjectURL(blob);
  const medium = videoMedium(video, 'video', title, () => {
    video.removeAttribute('src');
    video.load(); // releases the decoder at once
    URL.revokeObjectURL(url);
  });
  video.src = url;
  return readyVideo(medium, video, `${title} is not a video that this browser can play.`);
}

/**
 * @param {Blob} blob
 * @param {string} title
 * @returns {Promise<Medium>}
 */
export async function openPicture(blob, title) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error(`${title} is not a picture that this browser can read.`);
  });
  return {
    ...still,
    kind: 'picture',
    title,
    size: () => ({ width: bitmap.width, height: bitmap.height }),
    draw(context, width, height) {
      context.fillStyle = '#fff'; // behind transparent pictures
      context.fillRect(0, 0, width, height);
      context.imageSmoothingQuality = 'high';
      context.drawImage(bitmap, 0, 0, width, height);
    },
    watch: onEveryRefresh, // repeats the same picture, for pages that measure
    close: () => bitmap.close(),
  };
}

/**
 * @param {Animation} animation
 * @returns {Medium}
 */
export function openAnimation({ title, width, height, draw }) {
  let seconds = 0;
  let since = performance.now();
  let playing = true;
  const now = () => seconds + (playing ? (performance.now() - since) / 1000 : 0);
  return {
    ...still,
    kind: 'animation',
    title,
    size: () => ({ width, height }),
    draw: (context, w, h) => draw(context, w, h, now()),
    watch: (onFresh) => onEveryRefresh(() => playing && onFresh()),
    play() {
      if (!playing) since = performance.now();
      playing = true;
    },
    pause() {
      seconds = now();
      playing = false;
    },
  };
}

/** The common part of pictures and animations. */
const still = { mirrored: false, onLost() {}, play() {}, pause() {}, close() {} };

/** @param {() => void} callback called at every refresh of the screen, never while the page is hidden */
function onEveryRefresh(callback) {
  let request = requestAnimationFrame(function again() {
    request = requestAnimationFrame(again);
    callback();
  });
  return () => cancelAnimationFrame(request);
}

// ---- videos ----

function newVideo() {
  const video = document.createElement('video');
  video.muted = video.loop = video.playsInline = true; // without sound, a page may start it by itself
  return video;
}

/**
 * @param {HTMLVideoElement} video
 * @param {'camera' | 'video'} kind
 * @param {string} title
 * @param {() => void} release
 * @returns {Medium}
 */
function videoMedium(video, kind, title, release) {
  return {
    kind,
    title,
    mirrored: false,
    size: () => ({ width: video.videoWidth, height: video.videoHeight }),
    draw: (context, width, height) => context.drawImage(video, 0, 0, width, height),
    watch: (onFresh) => watchVideo(video, onFresh),
    onLost() {},
    play: () => void video.play().catch(() => {}), // only refused where autoplay is not allowed: it stays paused
    pause: () => video.pause(),
    close() {
      video.pause();
      release();
    },
  };
}

/**
 * Waits for the first frame.
 * @param {Medium} medium
 * @param {HTMLVideoElement} video
 * @param {string} trouble what to tell the visitor if there never is one
 */
async function readyVideo(medium, video, trouble) {
  try {
    medium.play();
    await new Promise((resolve, reject) => {
      video.addEventListener('loadeddata', resolve, { once: true });
      video.addEventListener('error', reject, { once: true });
      setTimeout(reject, 15_000);
    });
    if (!video.videoWidth) throw new Error('no pictures in it'); // browsers open audio files as videos
    return medium;
  } catch (error) {
    medium.close();
    throw new Error(trouble, { cause: error });
  }
}

/**
 * @param {HTMLVideoElement} video
 * @param {() => void} onFresh called for every frame the video shows
 */
function watchVideo(video, onFresh) {
  if (!('requestVideoFrameCallback' in video)) {
    let last = -1;
    return onEveryRefresh(() => {
      const { currentTime } = /** @type {HTMLVideoElement} */ (video);
      if (currentTime !== last) onFresh();
      last = currentTime;
    });
  }
  let request = video.requestVideoFrameCallback(function again() {
    request = video.requestVideoFrameCallback(again);
    onFresh();
  });
  return () => video.cancelVideoFrameCallback(request);
}
