// For tests: a video call between two ends of one page. Tests take this file's text, since some pages are served without it.

/** Sends a track through two peer connections. Gives a <video> that plays what arrives, and what ends the call. */
async function startCall(track) {
  const [sender, receiver] = [new RTCPeerConnection(), new RTCPeerConnection()];
  sender.onicecandidate = ({ candidate }) => candidate && receiver.addIceCandidate(candidate);
  receiver.onicecandidate = ({ candidate }) => candidate && sender.addIceCandidate(candidate);
  const arrived = new Promise((resolve) => { receiver.ontrack = ({ track }) => resolve(track); });
  const rtpSender = sender.addTrack(track);
  await sender.setLocalDescription();
  await receiver.setRemoteDescription(sender.localDescription);
  await receiver.setLocalDescription();
  await sender.setRemoteDescription(receiver.localDescription);
  const video = await playing(await arrived);
  return { video, sender: rtpSender, end() { sender.close(); receiver.close(); } };
}

/** A <video> that shows a track. */
async function playing(track) {
  const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
  video.srcObject = new MediaStream([track]);
  document.body.append(video);
  await video.play();
  return video;
}

/** The RGBA pixels of what a video shows, `count` frames of it with so many between, scaled to a size. */
async function watch(video, count, between, width, height) {
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  const seen = [];
  for (let i = 0; seen.length < count; i++) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    if (i % (between + 1)) continue;
    context.drawImage(video, 0, 0, width, height);
    let text = '';
    for (const byte of context.getImageData(0, 0, width, height).data) text += String.fromCharCode(byte);
    seen.push(btoa(text));
  }
  return seen;
}

/** A camera that shows what the function draws on its canvas, thirty times a second. */
function drawnTrack(width, height, draw) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { alpha: false });
  const timer = setInterval(() => draw(context, canvas), 33);
  draw(context, canvas);
  const [track] = canvas.captureStream(30).getVideoTracks();
  return { track, canvas, end() { clearInterval(timer); track.stop(); } };
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Waits until a condition holds, and gives its value; throws after 20 s. */
async function until(condition, what) {
  for (let i = 0; i < 400; i++) {
    const value = condition();
    if (value) return value;
    await pause(50);
  }
  throw new Error(`not within 20 s: ${what}`);
}
