// Forms: a warning before typed work is lost, no second press of save, and small comforts of the import.

import { $, $$, on, ready } from './dom.js';

function guard(form) {
  if (form.dataset.guarded) return;
  form.dataset.guarded = '1';
  let dirty = 'dirty' in form.dataset;
  const mark = () => {
    dirty = true;
    const note = $('[data-dirty-note]', form);
    if (note) note.hidden = false;
  };
  form.addEventListener('input', mark);
  form.addEventListener('change', mark);
  form.addEventListener('click', (event) => {
    if (event.target.closest('[data-leave]')) dirty = false;
  });
  form.addEventListener('submit', () => {
    dirty = false;
    // Only after the browser has collected the form: a disabled button sends no name.
    setTimeout(() => $$('button:not([type=button])', form).forEach((button) => { button.disabled = true; }));
  });
  addEventListener('beforeunload', (event) => {
    if (dirty) event.preventDefault();
  });
}
ready(() => $$('form[data-guard]').forEach(guard));
// Coming back to the page, its buttons work again.
addEventListener('pageshow', () => {
  for (const button of $$('form[data-guard] button:disabled:not([data-wait-for])')) button.disabled = false;
});

// ---- import: another sheet or header row is read at once
on('change', '[data-reread]', (_event, control) => control.form.requestSubmit($('[data-reread-button]', control.form)));

// ---- import: a file may be dropped on the box around the file field
for (const type of ['dragover', 'dragleave', 'drop']) {
  on(type, '[data-drop]', (event, box) => {
    event.preventDefault();
    box.toggleAttribute('data-over', type === 'dragover');
    if (type !== 'drop' || !event.dataTransfer.files.length) return;
    const field = $('input[type=file]', box);
    field.files = event.dataTransfer.files;
    field.dispatchEvent(new Event('change', { bubbles: true }));
  });
}
