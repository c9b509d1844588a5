// Numbers as people read them, in the page's language.
import { language, t } from "./texts.js";

export function number(value, digits = 2) {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);
}

export const percent = (share) => new Intl.NumberFormat(language(), { style: "percent" }).format(share);

export function bytes(count) {
  if (count >= 2 ** 30) return `${number(count / 2 ** 30, 1)} GB`;
  if (count >= 2 ** 20) return `${number(count / 2 ** 20, count < 10 * 2 ** 20 ? 1 : 0)} MB`;
  return `${number(Math.ceil(count / 1024), 0)} KB`;
}

/** "8 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (h) return t("time.hours", { h, m });
  if (m) return t("time.minutes", { m, s });
  return t("time.seconds", { s });
}

/** A moment of `time.time()`. */
export function moment(seconds) {
  return new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(seconds * 1000);
}
