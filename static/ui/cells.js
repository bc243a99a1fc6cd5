// Editing one cell where it stands. Enter saves and goes down, Tab saves and goes on, Escape leaves it be.

import { $, $$, icon, make, on, place, post, Refusal, t, toast } from './dom.js';
import { forgetMenu } from './list.js';

const specs = () => JSON.parse($('#editable')?.textContent || '{}');
const url = () => $('#list').dataset.cellUrl;

on('click', '[data-cell]', (_event, cell) => edit(cell));

function edit(cell) {
  const spec = specs()[cell.dataset.name];
  if (!spec) return;
  if (spec.type === 'bool') {
    save(cell, cell.dataset.value === '1' ? '0' : '1').catch((refusal) => toast(refusal.message, 'red'));
    return;
  }
  const input = editor(spec, cell);
  const error = make('div', { className: 'menu cell-err', popover: 'manual' });
  error.setAttribute('role', 'alert');
  cell.hidden = true;
  cell.before(input, error);
  input.focus();
  input.select?.();
  let over = false;
  let saving = false;

  function leave(focus) {
    if (over) return;
    over = true;
    input.remove();
    error.remove();
    const shown = sameCell(cell);
    shown.hidden = false;
    if (focus) shown.focus();
  }

  async function commit(direction) {
    if (over || saving) return;
    if (input.value === cell.dataset.value) {
      leave(!direction);
      if (direction) neighbour(cell, direction)?.focus();
      return;
    }
    saving = true;
    try {
      await save(cell, input.value, input.selectedOptions?.[0]?.text ?? input.value);
      const next = neighbour(sameCell(cell), direction);
      leave(!next);
      next?.focus();
    } catch (refusal) {
      saving = false;
      input.setAttribute('aria-invalid', 'true');
      error.textContent = refusal.message;
      error.showPopover();
      place(error, input);
      input.focus();
    }
  }

  input.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Escape') {
      event.stopPropagation();
      leave(true);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      commit('down');
    } else if (event.key === 'Tab') {
      event.preventDefault();
      commit(event.shiftKey ? 'back' : 'on');
    }
  });
  // Time for what was clicked to say that it belongs to us; a value known to be wrong is not sent twice.
  input.addEventListener('blur', () => setTimeout(() => {
    if (document.activeElement === input || $('dialog[open]')) return;
    if (input.ariaInvalid) leave(); else commit();
  }, 120));
  if (spec.type === 'select') input.addEventListener('change', () => commit());
}

function editor(spec, cell) {
  const input = make(spec.type === 'select' ? 'select' : 'input', { className: 'cell-in' });
  if (spec.type === 'select') {
    for (const [value, label] of spec.options) input.add(new Option(label, value, false, value === cell.dataset.value));
  } else {
    input.type = spec.type === 'date' ? 'date' : 'text';
    input.inputMode = spec.type === 'number' ? 'decimal' : '';
    input.autocomplete = 'off';
    input.value = cell.dataset.value;
  }
  input.setAttribute('aria-label', spec.label);
  input.style.width = `${Math.max(96, cell.parentElement.clientWidth - 20)}px`;
  return input;
}

async function save(cell, value, label) {
  const { pk, name, version, value: before } = cell.dataset;
  try {
    const answer = await post(url(), { pk, name, value, version });
    const fresh = show(cell, answer);
    const undo = () => save(fresh, before).catch((refusal) => toast(refusal.message, 'red'));
    toast(t('%(field)s is saved.', { field: specs()[name].label }), 'green', [t('Undo'), undo]);
  } catch (refusal) {
    if (!(refusal instanceof Refusal) || refusal.status !== 409) throw refusal;
    await settle(cell, value, label, refusal);
  }
}

// Somebody else saved the record meanwhile: show both values, let the person say which stays.
async function settle(cell, value, label, { message, answer }) {
  const dialog = $('#clash');
  $('[data-body]', dialog).textContent = message;
  $('[data-theirs]', dialog).innerHTML = answer.theirs_html;
  $('[data-mine]', dialog).textContent = label || value || '—';
  dialog.returnValue = '';
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener('close', closed, { once: true }));
  const fresh = show(cell, { html: answer.theirs_html, value: answer.value, version: answer.version });
  if (dialog.returnValue === 'mine') await save(fresh, value, label);
}

// The cell as the server now sees it, and the new version for every cell of its row.
function show(cell, { html, value, version }) {
  const box = make('template');
  box.innerHTML = html;
  let fresh = cell;
  if (box.content.firstElementChild?.matches('[data-cell]')) {
    fresh = box.content.firstElementChild;
    fresh.hidden = cell.hidden;
    cell.replaceWith(fresh);
  } else {
    cell.replaceChildren(box.content);
    cell.dataset.value = value ?? cell.textContent.trim();
  }
  const row = fresh.closest('tr');
  for (const other of $$('[data-version]', row)) other.dataset.version = version;
  const menu = $('[data-menu]', row);
  if (menu) forgetMenu(menu.dataset.menu);
  fresh.classList.remove('saved');
  void fresh.offsetWidth; // starts the animation anew
  fresh.classList.add('saved');
  return fresh;
}

function sameCell({ dataset: { pk, name } }) {
  return $(`[data-cell][data-pk="${CSS.escape(pk)}"][data-name="${CSS.escape(name)}"]`);
}

function neighbour(cell, direction) {
  if (!direction) return null;
  const cells = $$(direction === 'down' ? `[data-cell][data-name="${CSS.escape(cell.dataset.name)}"]` : '[data-cell]');
  return cells[cells.indexOf(cell) + (direction === 'back' ? -1 : 1)];
}

// ---- masked values: showing one is written down by the server, and it hides again after half a minute
on('click', '[data-reveal]', async (_event, button) => {
  const box = button.closest('[data-masked]');
  const shown = $('.num', box);
  if (box.dataset.mask) return hide(box, button);
  try {
    const { value } = await post(button.dataset.url, { pk: button.dataset.pk, name: button.dataset.name });
    box.dataset.mask = shown.textContent;
    shown.textContent = value;
    button.replaceChildren(icon('eye-off'));
    toast(t('Shown. Looking at it was written to the journal.'), 'blue');
    setTimeout(() => hide(box, button), 30000);
  } catch (refusal) {
    toast(refusal.message, 'red');
  }
});

function hide(box, button) {
  if (!box.dataset.mask) return;
  $('.num', box).textContent = box.dataset.mask;
  delete box.dataset.mask;
  button.replaceChildren(icon('eye'));
}

// In a form a masked value is changed only after it was asked for; until then nothing of it is sent.
on('click', '[data-unlock]', async (_event, button) => {
  const lock = button.closest('[data-lock]');
  const { url: address, pk, name, inputmode } = button.dataset;
  try {
    const { value } = await post(address, { pk, name });
    const input = make('input', { id: $('output', lock).id, name, value: value ?? '', autocomplete: 'off' });
    input.inputMode = inputmode ?? '';
    lock.replaceWith(input);
    input.focus();
    toast(t('Shown. Looking at it was written to the journal.'), 'blue');
  } catch (refusal) {
    toast(refusal.message, 'red');
  }
});
