// What the routes' answers look like: pkg/api, as far as the page reads it.

export interface Device {
  name: string;
  state: "online" | "away" | "left";
  since: string;
  version?: string;
  cameras?: { name: string; kind: string }[];
  sensors?: { name: string; class?: string; unit?: string }[];
  outputs?: { name: string }[];
  reason?: string;
}

export interface DeviceEvent {
  type: string;
  device?: Device;
}

export interface BrokerInfo {
  version: string;
  role?: string;
}

export interface FrameHeader {
  camera: string;
  boot: string;
  seq: number;
  at: string;
  mono_ns: number;
  width: number;
  height: number;
  format: string;
  skipped: number;
}

export interface ClockReply {
  boot: string;
  mono_ns: number;
}

export interface Reading {
  type: string;
  sensor?: string;
  class?: string;
  on?: boolean;
  count?: number;
  at?: string;
  values?: { q: string; v: number; u: string }[];
  error?: { code: string; text: string; hint?: string };
}

export interface OutputState {
  output: string;
  on: boolean;
  until?: string;
  shows?: string; // what it shows: then it cannot be set
  error?: string;
}

export interface Control {
  name: string;
  type: string;
  value: number;
  default: number;
  min: number;
  max: number;
  step?: number;
  menu?: Record<string, string>;
  off?: boolean;
}

export interface Camera {
  name: string;
  kind: string;
  model?: string;
  state: string;
  error?: string;
  mode?: { format: string; width: number; height: number };
  controls?: Control[];
}

export interface ControlReply {
  values?: Record<string, number>;
  errors?: Record<string, string>;
}

export interface StreamOptions {
  camera?: string;
  fps?: number;
  quality?: number;
  width?: number;
}
