for (const th of document.querySelectorAll('.sortable th')) th.onclick = () => {
  const table = th.closest('table'), body = table.tBodies[0], k = th.cellIndex;
  const down = th.dataset.d === '1' ? -1 : 1;
  table.querySelectorAll('th').forEach(h => delete h.dataset.d);
  th.dataset.d = down;
  const value = row => {
    const cell = row.cells[k];
    return cell.dataset.v === '' ? cell.textContent : +cell.dataset.v;
  };
  const order = (p, q) => {
    const x = value(p), y = value(q), text = typeof x === 'string' ? -1 : 1;
    return (x < y ? 1 : x > y ? -1 : 0) * down * text;
  };
  [...body.rows].sort(order).forEach(row => body.append(row));
};
for (const button of document.querySelectorAll('.legend button')) button.onclick = () => {
  const off = button.classList.toggle('off');
  for (const dot of button.closest('.panel').querySelectorAll('.dot'))
    if (dot.dataset.who === button.dataset.who) dot.style.display = off ? 'none' : '';
};
const root = document.documentElement, theme = document.getElementById('theme');
theme.onclick = () => {
  const now = root.style.colorScheme || (matchMedia('(prefers-color-scheme:dark)').matches
    ? 'dark' : 'light');
  root.style.colorScheme = now === 'dark' ? 'light' : 'dark';
};
