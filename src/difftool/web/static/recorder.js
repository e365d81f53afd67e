// Records the microphone into WAV files.

const BEFORE = 0.3; // seconds kept from before the button was pressed, and after it was released:
const AFTER = 0.2; // people press late and release early
export const LONGEST = 55; // seconds of a take

/** Why there is no microphone, or null: "insecure" (http to another machine) or "unsupported". */
export function obstacle() {
  if (!window.isSecureContext) return "insecure";
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return "unsupported";
  return null;
}

export class Recorder {
  /** `onlevel` is called with the peak of each block, 0 to 1. */
  constructor(onlevel) {
    this.onlevel = onlevel;
    this.blocks = [];
    this.recording = false;
  }

  /** Turns the microphone on; `lost` is called when it is unplugged. Raises what the browser raises. */
  async start(device, lost) {
    this.close();
    // the cleaning that browsers do for calls changes voices
    const constraints = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    if (device) constraints.deviceId = { exact: device };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: constraints });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/static/worklet.js");
    await this.context.resume();
    const tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    tap.port.onmessage = ({ data }) => this.take(data);
    this.context.createMediaStreamSource(this.stream).connect(tap);
    const [track] = this.stream.getAudioTracks();
    track.addEventListener("ended", lost);
    this.device = track.getSettings().deviceId;
  }

  close() {
    this.recording = false;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.stream = this.context = null;
    this.blocks = [];
  }

  take(block) {
    if (!this.context) return; // a block that was on its way when the microphone was closed
    this.blocks.push(block);
    if (!this.recording) {
      const most = Math.ceil((BEFORE * this.context.sampleRate) / block.length);
      this.blocks.splice(0, this.blocks.length - most);
    }
    let peak = 0;
    for (const value of block) peak = Math.max(peak, Math.abs(value));
    this.onlevel(peak);
  }

  begin() {
    this.recording = true;
    this.began = performance.now();
  }

  /** Ends a take: a WAV file as a Blob, or null if the microphone was closed meanwhile. */
  async end() {
    await new Promise((done) => setTimeout(done, AFTER * 1000));
    if (!this.recording) return null;
    const blocks = this.blocks;
    this.cancel();
    return wav(blocks, this.context.sampleRate);
  }

  cancel() {
    this.recording = false;
    this.blocks = [];
  }
}

/** Mono samples as a WAV file of 16 bits. */
function wav(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) {
    for (const value of block) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
