// How things are written for people.

// age of a picture, in as many digits as anybody wants to know.
export function age(ms: number | undefined): string {
  if (ms === undefined) return "";
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 59_500) return `${Math.round(ms / 1000)} s`;
  if (ms < 3_570_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

export function rate(fps: number): string {
  if (fps === 0) return "";
  return `${fps < 9.95 ? fps.toFixed(1) : Math.round(fps)} fps`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

// moment is a time of today as the hour, of another day with the day.
export function moment(at: string | undefined): string {
  const t = new Date(at ?? "");
  if (isNaN(t.getTime())) return "";
  return t.toDateString() === new Date().toDateString() ? clock.format(t) : day.format(t);
}

// measure writes a value in the unit that people use for what SenML spells for programs (RFC 8428, RFC 8798).
export function measure(value: number, unit: string): string {
  switch (unit) {
    case "Cel":
      return `${digits(value)} °C`;
    case "%RH":
    case "%EL":
      return `${digits(value)} %`;
    case "Pa":
      return Math.abs(value) >= 10_000 ? `${Math.round(value / 100)} hPa` : `${digits(value)} Pa`;
    case "/":
    case "":
      return digits(value);
    case "lx":
      return `${Math.round(value)} lx`;
  }
  return `${digits(value)} ${unit}`;
}

function digits(v: number): string {
  const size = Math.abs(v);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return v.toPrecision(3);
  return v.toFixed(size >= 100 || Number.isInteger(v) ? 0 : size >= 1 ? 1 : 2);
}

// words makes a label of a name such as white_balance_temperature.
export function words(name: string): string {
  const text = name.replace(/[_.-]+/g, " ").trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// fileName is safe wherever files are: names of devices and cameras are, by the agent's own rules, and a time is made so.
export function fileName(...parts: string[]): string {
  return parts.map((p) => p.replace(/[^A-Za-z0-9._-]+/g, "-")).join("_");
}
