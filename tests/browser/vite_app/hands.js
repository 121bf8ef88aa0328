// The page of docs/hands.md: names the hands before the camera.

import { HandTracker } from 'tulle/hands';

const video = document.querySelector('video');
video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
await video.play();

const tracker = await HandTracker.create();

async function onFrame(now) {
  const { hands } = await tracker.detect(video, now);
  const tips = hands.map(({ handedness, landmarks }) => `${handedness} ${landmarks[8].x.toFixed(2)}`);
  document.querySelector('p').textContent = tips.join(', ');
  video.requestVideoFrameCallback(onFrame);
}
video.requestVideoFrameCallback(onFrame);
