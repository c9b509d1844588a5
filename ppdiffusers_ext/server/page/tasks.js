// What the tabs offer: which systems, which ways to use them, and which files each of them takes.

const BODY = { role: "reference_image", kind: "image" };
const DRIVER = { role: "driving_video", kind: "video" };
const SKELETONS = { role: "pose_video", kind: "video" };

const POSED = [
  { name: "driving_video", files: [BODY, DRIVER], chooses: "driving_video" },
  { name: "pose_video", files: [BODY, SKELETONS] },
];

export const TASKS = {
  animate: { systems: ["animate_anyone", "stable_animator"], variants: POSED, options: {}, sample: "pose_video" },
  video: {
    systems: ["easy_animate"],
    variants: [
      { name: "text", files: [] },
      {
        name: "pictures",
        files: [{ role: "start_image", kind: "image" }, { role: "end_image", kind: "image", optional: true }],
      },
      {
        name: "video",
        files: [{ role: "video", kind: "video" }, { role: "mask", kind: "image,video", optional: true }],
      },
    ],
    options: {},
  },
  face: { systems: ["stable_animator"], variants: POSED, options: { optimize_face: true }, sample: "pose_video" },
};

// Files that ship with the package, for the button that tries the page.
export const SAMPLE = { reference_image: "reference.png", pose_video: "pose.mp4" };

// Fields that stand in front whatever the server says, in this order; the others are "more settings".
export const FRONT = [
  "prompt", "negative_prompt", "loras", "strength", "width", "height", "num_frames", "num_inference_steps",
  "guidance_scale", "seed", "report",
];

/** The task in which a job can be used again. */
export function taskOf(job) {
  if (job.system === "easy_animate") return "video";
  return job.options.optimize_face ? "face" : "animate";
}

/** The variant of a task that takes the files of a job. */
export function variantOf(task, files) {
  const roles = Object.keys(files);
  const fits = (variant) => roles.every((role) => variant.files.some((file) => file.role === role));
  return TASKS[task].variants.find(fits)?.name ?? null;
}
