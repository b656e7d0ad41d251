// Where photos come from: dropped, pasted, chosen, or a whole folder.

const PICTURE = /\.(jpe?g|jpe|jfif|mpo|png|apng|tiff?|bmp|webp|gif|hei[cf]|hif|avif)$/i;

function isPicture(file) {
  return file.type.startsWith("image/") || PICTURE.test(file.name);
}

async function within(entry, path = "") {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return [{ file, name: path + file.name }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    for (const one of some) found.push(...(await within(one, `${path}${entry.name}/`)));
  }
}

// Calls take(photos, ignored) with what comes: photos are {file, name}, ignored is how many others there were.
export function watch(take) {
  const drop = document.getElementById("drop");
  const give = (all) => {
    const photos = all.filter(({ file, name }) => isPicture(file) && !name.split("/").pop().startsWith("."));
    take(photos, all.length - photos.length);
  };
  const plain = (list) => [...list].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
  for (const id of ["pick", "pick-folder"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      give(plain(input.files));
      input.value = "";
    });
  }
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = plain(event.dataTransfer.files);
    give(entries.length ? (await Promise.all(entries.map((entry) => within(entry)))).flat() : files);
  });
  addEventListener("paste", (event) => {
    const files = plain(event.clipboardData?.files ?? []);
    if (files.length) give(files);
  });
}
