// Passkeys: a form with `data-passkey` asks the browser for one, and sends what it returns. Hidden where there are none.

const ACTS = {
  create: (options) => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) }),
  get: (options) => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }),
};

async function ask(form) {
  const response = await fetch(form.dataset.options, { cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const credential = await ACTS[form.dataset.passkey](await response.json());
  form.elements.response.value = JSON.stringify(credential.toJSON());
  form.submit();
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.hidden = !window.PublicKeyCredential?.parseRequestOptionsFromJSON;
  const note = form.querySelector("[role=alert]");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    note.hidden = true;
    ask(form).catch((error) => {
      note.textContent = form.dataset[error.name === "InvalidStateError" ? "exists" : "failed"];
      note.hidden = false;
    });
  });
}
