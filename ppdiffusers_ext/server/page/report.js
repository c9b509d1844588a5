// The report of a result as numbers that can be read: what each means, and which way is better.
import { el } from "./dom.js";
import { number, percent } from "./format.js";
import { t } from "./texts.js";

const isNumber = (value) => typeof value === "number";

/** The values of a report: the measures of its first result where it has several. */
function measuresOf(report) {
  return report.measures ?? report.results?.[0] ?? report;
}

/** [[key of texts, value in words]] of what was measured. */
function found(values) {
  const identity = values[Object.keys(values).find((name) => name.startsWith("csim"))];
  const { body, hands, face } = values.poses ?? {};
  const list = [
    ["identity", isNumber(identity?.mean) && number(identity.mean)],
    ["identity.min", isNumber(identity?.min) && number(identity.min)],
    ["pck", isNumber(body?.["pckh_0.5"]) && percent(body["pckh_0.5"])],
    ["body", isNumber(body?.akd_pixels) && t("report.pixels", { count: number(body.akd_pixels, 1) })],
    ["hands", isNumber(hands?.akd_pixels) && t("report.pixels", { count: number(hands.akd_pixels, 1) })],
    ["face", isNumber(face?.akd_pixels) && t("report.pixels", { count: number(face.akd_pixels, 1) })],
    ["colour", isNumber(values.colour?.delta_e) && number(values.colour.delta_e, 1)],
    ["sharpness", isNumber(values.sharpness?.mean) && percent(values.sharpness.mean)],
    ["flicker", isNumber(values.flicker_second_difference) && number(values.flicker_second_difference)],
  ];
  return list.filter(([, text]) => text);
}

/** The elements of a report. */
export function makeReport(report) {
  const values = measuresOf(report);
  const rows = found(values).map(([key, text]) =>
    el("div", {}, el("dt", {}, t(`report.${key}`)), el("dd", {}, text, el("div", { class: "hint" }, t(`report.${key}.hint`)))));
  const reasons = Object.entries(values.reasons ?? {}).map(([name, why]) => el("li", { lang: "en" }, `${name}: ${why}`));
  return [
    el("h3", {}, t("report.title")),
    rows.length ? el("dl", { class: "numbers" }, rows) : null,
    reasons.length ? el("details", { class: "more" }, el("summary", {}, t("report.reasons")), el("ul", { class: "hint" }, reasons)) : null,
  ];
}
