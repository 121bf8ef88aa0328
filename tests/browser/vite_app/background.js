// The page of docs/background.md: shows the camera, its background blurred.

import { BackgroundProcessor } from 'tulle/background';

const stream = await navigator.mediaDevices.getUserMedia({ video: true });
const processor = await BackgroundProcessor.create();
const processed = await processor.process(stream.getVideoTracks()[0], { effect: 'blur', strength: 0.8 });

const video = document.querySelector('video');
video.srcObject = new MediaStream([processed]);
await video.play();
