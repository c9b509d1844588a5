// Pictures on canvases: no addresses of data or blobs, which the page's policy does not allow.

const SIDE = 1024; // pixels that are kept at most

/** A canvas with a picture of a Blob; null where the browser cannot read it. */
export async function canvasOf(blob, label) {
  let picture;
  try {
    picture = await createImageBitmap(blob);
  } catch {
    return null;
  }
  const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

/** A Blob of base64. */
export function blobOf(base64, type = "image/png") {
  const bytes = Uint8Array.from(atob(base64.replace(/^data:[^,]*,/, "")), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type });
}
