// The command palette: one box over everything the person may see. A combobox with a listbox, by WAI-ARIA.

import { $, $$, make, on, t } from './dom.js';

let asked = 0;
let timer;

const field = () => $('[data-palette]');
const list = () => $('#palette-list');

export function openPalette() {
  const dialog = $('#palette');
  if (!dialog || dialog.open) return;
  dialog.showModal();
  field().select();
  fill();
}

async function fill() {
  const turn = ++asked;
  const answer = await asking(`${field().dataset.url}?q=${encodeURIComponent(field().value.trim())}`);
  if (turn !== asked) return;
  if (answer === null) {
    const note = make('div', { className: 'empty slim', textContent: t('Nothing can be searched at the moment. Try again.') });
    note.setAttribute('role', 'option');
    note.setAttribute('aria-disabled', 'true');
    list().replaceChildren(note);
  } else {
    list().innerHTML = answer;
  }
  choose(0);
}

// What the server found, as markup; null when it could not be asked.
async function asking(url) {
  const response = await fetch(url, { headers: { 'X-Requested-With': 'fetch' } }).catch(() => null);
  return response?.ok && !response.redirected ? response.text() : null;
}

function choose(index) {
  const options = $$('a[role=option]', list());
  field().removeAttribute('aria-activedescendant');
  options.forEach((option, at) => option.setAttribute('aria-selected', at === index));
  if (!options[index]) return;
  options[index].scrollIntoView({ block: 'nearest' });
  field().setAttribute('aria-activedescendant', options[index].id);
}

function move(step) {
  const options = $$('a[role=option]', list());
  const at = options.findIndex((option) => option.ariaSelected === 'true');
  if (options.length) choose((at + step + options.length) % options.length);
}

on('click', '[data-open-palette]', openPalette);

on('input', '[data-palette]', (event) => {
  if (event.isComposing) return;
  clearTimeout(timer);
  timer = setTimeout(fill, 120);
});
on('compositionend', '[data-palette]', fill);

on('keydown', '[data-palette]', (event) => {
  if (event.isComposing) return;
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    event.preventDefault();
    move(event.key === 'ArrowDown' ? 1 : -1);
  }
  if (event.key === 'Enter') {
    event.preventDefault();
    $('a[aria-selected=true]', list())?.click();
  }
});
