// The sample files that ship with the package, sent like files of a user's own.
import { Refusal } from "./api.js";
import { SAMPLE } from "./tasks.js";

/** Send the sample of each role that the drops have. */
export async function takeSample(drops) {
  const sending = drops.filter(({ name }) => SAMPLE[name]).map(async (drop) => {
    const answer = await fetch(`page/sample/${SAMPLE[drop.name]}`);
    if (!answer.ok) throw new Refusal("", answer.status);
    const blob = await answer.blob();
    return drop.send(new File([blob], SAMPLE[drop.name], { type: blob.type }));
  });
  await Promise.all(sending);
}
