// A call with oneself: two peer connections in this page. What is sent goes through a BackgroundProcessor, is coded and
// decoded as in any call, and comes out at the other end.

import { BackgroundProcessor } from '../../web/src/background/index.js';

/** @typedef {import('../../web/src/background/index.js').BackgroundOptions} BackgroundOptions */

export class LoopbackCall {
  /** What the other end receives. @type {MediaStream} */
  received = new MediaStream();
  #sender = new RTCPeerConnection();
  #receiver = new RTCPeerConnection();
  #processor;
  #track;

  /**
   * @param {BackgroundProcessor} processor
   * @param {MediaStreamTrack} track of the camera
   */
  constructor(processor, track) {
    this.#processor = processor;
    this.#track = track;
  }

  /**
   * @param {MediaStreamTrack} track of the camera; stopped with the call
   * @param {import('../../web/src/background/index.js').BackgroundProcessorOptions} options
   * @returns {Promise<LoopbackCall>} once the other end receives
   */
  static async start(track, options) {
    const call = new LoopbackCall(await BackgroundProcessor.create(options), track);
    try {
      await call.#connect();
    } catch (error) {
      await call.end();
      throw error;
    }
    return call;
  }

  get stats() {
    return this.#processor.stats;
  }

  /** @param {BackgroundOptions} options */
  update(options) {
    return this.#processor.update(options);
  }

  async end() {
    this.#sender.close();
    this.#receiver.close();
    this.#track.stop();
    await this.#processor.close();
  }

  async #connect() {
    const [sender, receiver] = [this.#sender, this.#receiver];
    sender.onicecandidate = ({ candidate }) => receiver.addIceCandidate(candidate ?? undefined);
    receiver.onicecandidate = ({ candidate }) => sender.addIceCandidate(candidate ?? undefined);
    const arrived = new Promise((resolve) => { receiver.ontrack = ({ track }) => resolve(track); });
    sender.addTrack(await this.#processor.process(this.#track));
    await sender.setLocalDescription();
    if (sender.localDescription) await receiver.setRemoteDescription(sender.localDescription);
    await receiver.setLocalDescription();
    if (receiver.localDescription) await sender.setRemoteDescription(receiver.localDescription);
    this.received.addTrack(await arrived);
  }
}
