// A select that is searched. It stays a native select underneath (and alone, without scripts); over it lies a
// combobox with a listbox, by WAI-ARIA: single or multiple, with its own options or with a look-up address.

import { $, $$, icon, make, ready, t } from './dom.js';

const BLANK = ['', '__None'];
const isBlank = (option) => BLANK.includes(option.value);

let serial = 0;

class Combo {
  constructor(select) {
    this.select = select;
    this.many = select.multiple;
    this.url = select.dataset.url;
    this.rows = [];
    this.at = -1;
    this.turn = 0;
    this.build();
    this.show();
  }

  build() {
    const { select } = this;
    const id = select.id || `combo-${++serial}`;
    this.input = make('input', { type: 'text', autocomplete: 'off', id });
    this.input.placeholder = select.dataset.placeholder ?? t('Search');
    this.list = make('div', { className: 'menu combo-list', popover: 'manual', id: `${id}-list` });
    this.clear = make('button', { type: 'button', className: 'ibtn' }, icon('x'));
    this.told = make('span', { className: 'sr' });
    attributes(this.input, {
      role: 'combobox', 'aria-expanded': 'false', 'aria-autocomplete': 'list', 'aria-controls': this.list.id,
    });
    for (const name of ['aria-describedby', 'aria-invalid', 'aria-label']) {
      if (select.hasAttribute(name)) this.input.setAttribute(name, select.getAttribute(name));
    }
    const label = select.getAttribute('aria-label') ?? $(`label[for="${CSS.escape(id)}"]`)?.firstChild.textContent ?? '';
    attributes(this.list, { role: 'listbox', 'aria-label': label });
    attributes(this.clear, { 'aria-label': t('Clear %(field)s', { field: label }) });
    attributes(this.told, { role: 'status' });
    select.id = `${id}-select`;
    select.hidden = true;
    this.box = make('div', { className: 'combo' }, this.input, this.clear, this.list, this.told);
    select.after(this.box);
    this.listen();
  }

  listen() {
    const { input } = this;
    let timer;
    input.addEventListener('input', (event) => {
      if (event.isComposing) return;
      clearTimeout(timer);
      timer = setTimeout(() => this.find(input.value.trim()), this.url ? 200 : 0);
    });
    input.addEventListener('compositionend', () => this.find(input.value.trim()));
    input.addEventListener('click', () => {
      if (this.isOpen) return;
      input.select();
      this.find('');
    });
    input.addEventListener('blur', () => {
      this.close();
      this.show();
    });
    input.addEventListener('keydown', (event) => this.key(event));
    this.list.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      const option = event.target.closest('[role=option]');
      if (option) this.pick([...this.list.children].indexOf(option));
    });
    this.clear.addEventListener('click', () => {
      for (const option of this.select.options) option.selected = isBlank(option);
      this.changed();
      input.focus();
    });
    // The list hangs under its field; when the page moves it would hang elsewhere.
    addEventListener('scroll', () => this.close(), { passive: true });
    this.select.form?.addEventListener('reset', () => setTimeout(() => this.show()));
  }

  get isOpen() {
    return this.list.matches(':popover-open');
  }

  get chosen() {
    return [...this.select.selectedOptions].filter((option) => !isBlank(option));
  }

  // The field as the select has it.
  show() {
    const mayClear = !this.many && [...this.select.options].some(isBlank);
    this.clear.hidden = !mayClear || !this.chosen.length;
    if (!this.many) {
      this.input.value = this.chosen[0]?.text ?? '';
      return;
    }
    $$('.chip', this.box).forEach((chip) => chip.remove());
    this.input.value = '';
    for (const option of this.chosen) this.input.before(this.chip(option));
  }

  chip(option) {
    const remove = make('button', { type: 'button' }, icon('x'));
    remove.setAttribute('aria-label', t('Remove %(value)s', { value: option.text }));
    remove.addEventListener('click', () => {
      option.selected = false;
      this.changed();
    });
    return make('span', { className: 'chip' }, make('span', { textContent: option.text }), remove);
  }

  changed() {
    this.show();
    this.select.dispatchEvent(new Event('change', { bubbles: true }));
  }

  async find(sought) {
    if (!this.url) {
      const fits = (option) => !isBlank(option) && option.text.toLowerCase().includes(sought.toLowerCase());
      return this.open([...this.select.options].filter(fits).map(({ value, text }) => ({ id: value, label: text })));
    }
    const turn = ++this.turn;
    const address = new URL(this.url, location.href);
    address.searchParams.set('q', sought);
    try {
      const response = await fetch(address, { headers: { 'X-Requested-With': 'fetch' } });
      const rows = await response.json();
      if (turn === this.turn && document.activeElement === this.input) this.open(rows);
    } catch {
      this.open([], t('The network is not available. Try again.'));
    }
  }

  open(rows, note) {
    this.rows = rows;
    const taken = this.chosen.map((option) => option.value);
    this.list.replaceChildren(...rows.map((row, index) => {
      const option = make('div', { id: `${this.list.id}-${index}`, textContent: row.label });
      if (row.hint) option.append(make('small', { textContent: row.hint }));
      return attributes(option, { role: 'option', 'aria-selected': taken.includes(String(row.id)) });
    }));
    if (!rows.length) {
      const option = make('div', { textContent: note || t('Nothing matches.') });
      this.list.append(attributes(option, { role: 'option', 'aria-disabled': 'true', 'aria-selected': 'false' }));
    }
    this.told.textContent = note || t('%(n)s choices', { n: rows.length });
    if (!this.isOpen) this.list.showPopover();
    this.place();
    this.input.setAttribute('aria-expanded', 'true');
    this.at = -1;
    if (rows.length) this.mark(0);
  }

  place() {
    const box = this.box.getBoundingClientRect();
    const above = box.bottom + 260 > innerHeight && box.top > 260;
    this.list.style.left = `${box.left}px`;
    this.list.style.width = `${box.width}px`;
    this.list.style.top = `${above ? box.top - this.list.offsetHeight - 4 : box.bottom + 4}px`;
  }

  close() {
    if (this.isOpen) this.list.hidePopover();
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
  }

  mark(index) {
    const options = [...this.list.children];
    options[this.at]?.classList.remove('on');
    this.at = (index + options.length) % options.length;
    options[this.at].classList.add('on');
    options[this.at].scrollIntoView({ block: 'nearest' });
    this.input.setAttribute('aria-activedescendant', options[this.at].id);
  }

  pick(index) {
    const row = this.rows[index];
    if (!row) return;
    const value = String(row.id);
    let option = [...this.select.options].find((known) => known.value === value);
    if (!option) {
      option = new Option(row.label, value);
      this.select.add(option);
    }
    if (this.many) option.selected = !option.selected;
    else this.select.value = value;
    this.changed();
    if (this.many) this.find('');
    else this.close();
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (!this.isOpen) this.find('');
      else if (this.rows.length) this.mark(this.at + (event.key === 'ArrowDown' ? 1 : -1));
    } else if (event.key === 'Enter' && this.isOpen) {
      event.preventDefault();
      this.pick(this.at);
    } else if (event.key === 'Escape' && this.isOpen) {
      event.preventDefault();
      event.stopPropagation();
      this.close();
      this.show();
    } else if (event.key === 'Backspace' && this.many && !this.input.value && this.chosen.length) {
      this.chosen.at(-1).selected = false;
      this.changed();
    }
  }
}

function attributes(element, values) {
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  return element;
}

ready(() => {
  for (const select of $$('select[data-combo]:not([hidden])')) new Combo(select);
});
