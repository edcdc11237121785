"use strict";
// The page's one script: it sends pictures to the service that served it, and shows what comes back.

const PLAIN = {
  akiec: "a lesion of sun-damaged skin, or a carcinoma within the top layer",
  bcc: "a frequent skin cancer",
  bkl: "seborrhoeic keratosis, solar lentigo and the like",
  df: "a firm nodule of the skin's connective tissue",
  mel: "a skin cancer of pigment cells",
  nv: "a mole",
  vasc: "a lesion of blood vessels, such as an angioma",
};
// What a role was to the model: only the test role had no part in making it.
const USED = {
  test: "pictures that had no part in making the model",
  calibration: "not trained on, but its probabilities, marks, sets and abstention were fitted on them, so they flatter it",
  selection: "not trained on, but its epoch may have been chosen on them, so they flatter it",
};
const at = (id) => document.getElementById(id);
// As dermlens.predict.answers.percent, on one line: what is nearly 0 or 1 is not rounded to it.
function percent(share, digits = 1) {
  const least = 10 ** -digits;
  if (share > 0 && 100 * share < least) return `< ${least.toFixed(digits)}\u00a0%`;
  if (share < 1 && 100 * share > 100 - least) return `> ${(100 - least).toFixed(digits)}\u00a0%`;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}
let chosen = [];
let model = null;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = `${text}`.replaceAll(" %", "\u00a0%");
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function choose(files) {
  chosen = [...files];
  const names = chosen.map((file) => file.name).join(", ");
  at("chosen").textContent = chosen.length ? `Chosen: ${names}` : "No picture chosen.";
  at("error").textContent = "";
}

async function ask(address, options = {}) {
  const key = at("key").value;
  const headers = key ? { "X-API-Key": key } : {};
  let response;
  try {
    response = await fetch(address, { ...options, headers });
  } catch {
    throw new Error("The service cannot be reached. Is it still running?");
  }
  if (response.status === 401) at("keyed").hidden = false;
  const reply = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(reply.detail || `The service answered ${response.status}.`);
  return reply;
}

async function explain(file) {
  const form = new FormData();
  form.append("file", file);
  for (const field of ["age", "sex", "site"]) {
    if (at(field).value.trim()) form.append(field, at(field).value.trim());
  }
  return ask("v1/explain", { method: "POST", body: form });
}

async function submit(event) {
  event.preventDefault();
  at("error").textContent = "";
  if (!chosen.length) {
    at("error").textContent = "Choose a picture first, or one of the examples.";
    return;
  }
  const button = at("form").querySelector("[type=submit]");
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  at("list").replaceChildren();
  const failed = [];
  try {
    for (const [index, file] of chosen.entries()) {
      at("status").textContent = `Asking: picture ${index + 1} of ${chosen.length} …`;
      try {
        show(file, await explain(file), index);
      } catch (error) {
        failed.push(`${file.name}: ${error.message}`);
      }
    }
  } finally {
    button.removeAttribute("aria-busy");
    button.disabled = false;
  }
  const answered = chosen.length - failed.length;
  at("status").textContent = `${answered} of ${chosen.length} answered.`;
  at("error").textContent = failed.join(" · ");
  at("answers").hidden = answered === 0;
  if (answered) at("answers-heading").focus();
}

function nameOf(code) {
  return (model && model.classes[code]) || code;
}

function kindOf(code) {
  if (model && model.malignant.includes(code)) return "malignant";
  return model && model.premalignant.includes(code) ? "pre-malignant" : "";
}

function looked(openings) {
  if (!openings) return "";
  if (openings.unrecorded) return "The test pictures have been looked at; nobody wrote down when.";
  if (!openings.times) return "The test pictures have not been looked at.";
  const day = (stamp) => stamp.slice(0, 10);
  const often = openings.times === 1 ? `once, on ${day(openings.first)}` : `${openings.times} times, first on ${day(openings.first)}, last on ${day(openings.last)}`;
  return `The test pictures had been looked at ${often} (recipe ${openings.recipes.join(", ")}) when this model was exported.`;
}

function show(file, reply, index) {
  const part = at("answer").content.cloneNode(true);
  const find = (selector) => part.querySelector(selector);
  const { answer, without } = reply;
  find("h3").textContent = file.name;
  const without_metadata = without.metadata;
  answer.sentences.forEach((sentence, place) => find(".sentences").append(element("p", sentence, place ? {} : { class: "headline" })));
  if (answer.state === "withheld") {
    for (const none of [".numbers", ".without", ".overlay"]) find(none).hidden = true;
  } else {
    const shown = without_metadata && without_metadata.p;
    find(".without-metadata").hidden = !shown;
    const rows = Object.entries(answer.p).sort((a, b) => b[1] - a[1]);
    for (const [code, p] of rows) {
      const row = element("tr", undefined, code === answer.diagnosis ? { class: "named" } : {});
      const head = element("th", nameOf(code), { scope: "row" });
      const about = [PLAIN[code], kindOf(code)].filter(Boolean).join("; ");
      if (about) head.append(element("small", about));
      const cell = element("td");
      cell.append(element("meter", undefined, { value: p, min: 0, max: 1, "aria-label": `${nameOf(code)}: ${percent(p)}` }), percent(p));
      row.append(head, cell, element("td", answer.set.includes(code) ? "yes" : ""));
      if (shown) row.append(element("td", percent(without_metadata.p[code])));
      find("tbody").append(row);
    }
    find(".without").textContent = !without_metadata ? "Nothing is known of the patient."
      : without_metadata.p === null ? "Without what is known of the patient, the answer is withheld."
      : `Without what is known of the patient, most likely: ${without_metadata.name}.`;
    const what = find(".what");
    if (reply.attention) what.append(element("option", "the network's attention", { value: "attention" }));
    for (const [code] of rows) what.append(element("option", nameOf(code), { value: code }));
    if (reply.evidence) what.value = answer.diagnosis;
    if (!reply.evidence && !reply.attention) find(".overlay").hidden = true;
  }
  const photo = find(".photo"), heat = find(".heat"), what = find(".what"), strength = find(".strength");
  const caption = find("figcaption");
  for (const [input, label] of [[what, "what"], [strength, "strength"]]) {
    input.id = `${label}-${index}`;
    input.parentElement.htmlFor = input.id;
  }
  photo.setAttribute("aria-label", `The picture ${file.name}`);
  at("list").append(part);
  const paint = () => {
    const map = what.value === "attention" ? reply.attention : reply.evidence && reply.evidence[what.value];
    overlay(heat, photo, map, reply.crop, strength.value / 100);
    if (map) caption.textContent = what.value === "attention" ? "Bluer: more attention." : `Bluer: adds more to the score of ${nameOf(what.value)}. A map of ${map.length} × ${map[0].length} places, drawn smooth.`;
  };
  what.addEventListener("change", paint);
  strength.addEventListener("input", paint);
  preview(file, photo).then(paint, () => { caption.textContent = "Browsers cannot show this kind of file; the service has read it."; });
}

async function preview(file, canvas) {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, 900 / Math.max(image.width, image.height));
  canvas.width = Math.round(image.width * scale);
  canvas.height = Math.round(image.height * scale);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
}

function overlay(canvas, photo, map, crop, strength) {
  canvas.width = photo.width;
  canvas.height = photo.height;
  if (!map) return;
  const [height, width] = [map.length, map[0].length];
  const small = element("canvas", undefined, { width, height });
  const pixels = small.getContext("2d").createImageData(width, height);
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--heat").trim().split(" ").map(Number);
  const most = Math.max(1e-9, ...map.flat());
  map.flat().forEach((value, place) => {
    pixels.data.set([...colour, 255 * Math.max(0, value) / most], 4 * place);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const side = Math.min(photo.width, photo.height);
  const [w, h] = crop === "center" ? [side, side] : [photo.width, photo.height];
  const context = canvas.getContext("2d");
  context.globalAlpha = strength;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, (photo.width - w) / 2, (photo.height - h) / 2, w, h);
}

function describe() {
  for (const word of model.sites) at("site").append(element("option", word));
  at("model").textContent = `Model ${model.model}.`;
  at("prior").textContent = model.prior
    ? `the case mix “${model.prior.name}”, ${model.prior.words}: ` + Object.entries(model.prior.shares).map(([code, share]) => `${nameOf(code)} ${percent(share)}`).join(", ")
    : "no case mix: nobody has calibrated this model";
  const parts = [];
  const known = Object.keys(model.classes).map((code) => nameOf(code) + (kindOf(code) ? ` (${kindOf(code)})` : ""));
  parts.push(element("p", `It knows ${known.length} diagnoses: ${known.join(", ")}.`));
  const limits = element("ul");
  for (const sentence of model.limits) limits.append(element("li", sentence));
  parts.push(limits);
  const { measured } = model;
  if (measured) {
    const interval = (one) => `${percent(one.value, 0)} (${percent(one.low, 0)} to ${percent(one.high, 0)})`;
    parts.push(element("p", `On ${measured.images} pictures of ${measured.lesions} lesions (role ${measured.role}: ${USED[measured.role] || "purpose not recorded"}; 95 % intervals): `
      + Object.entries(measured.scores).map(([name, one]) => `${name} ${interval(one)}`).join(", ") + "."));
    const openings = looked(measured.test_openings);
    if (openings) parts.push(element("p", openings));
    const table = element("table");
    table.append(element("caption", "Of the pictures of each diagnosis, how many are named rightly"));
    const head = element("tr");
    for (const title of ["Diagnosis", "Pictures", "Named rightly", "95 % interval"]) head.append(element("th", title, { scope: "col" }));
    table.createTHead().append(head);
    const body = table.createTBody();
    for (const [code, one] of Object.entries(measured.recall)) {
      const row = element("tr");
      row.append(element("th", nameOf(code), { scope: "row" }), element("td", one.images), element("td", percent(one.value, 0)), element("td", `${percent(one.low, 0)} to ${percent(one.high, 0)}`));
      body.append(row);
    }
    const box = element("div");
    box.append(table);
    parts.push(box);
    const groups = Object.entries(measured.groups).map(([field, counts]) => `by ${field.replace("_", " ")}: ` + Object.entries(counts).map(([group, count]) => `${group} ${count}`).join(", "));
    parts.push(element("h3", "Who is in those pictures, and who is not"), element("p", `${groups.join("; ")}.`));
    const lacks = element("ul");
    for (const sentence of measured.lacks) lacks.append(element("li", sentence));
    parts.push(lacks);
  } else {
    parts.push(element("p", "Nobody has written down what was measured of this model."));
  }
  at("measured").replaceChildren(...parts);
}

async function load() {
  try {
    model = await ask("v1/model");
    describe();
  } catch (error) {
    at("measured").replaceChildren(element("p", error.message));
  }
}

for (const input of [at("pictures"), at("camera")]) input.addEventListener("change", () => choose(input.files));
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    const name = `${button.textContent.trim()}.jpg`;
    const content = await (await fetch(`examples/${button.dataset.example}.jpg`)).blob();
    choose([new File([content], name, { type: "image/jpeg" })]);
    at("form").requestSubmit();
  });
}
const drop = at("drop");
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  choose(event.dataTransfer.files);
});
at("form").addEventListener("submit", submit);
at("key").addEventListener("change", () => { if (!model) load(); });
load();
