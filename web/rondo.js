/* rondo site page: what makes its pages handier; they work without it. */
"use strict";

(function () {
	function select(node) {
		const range = document.createRange();
		range.selectNodeContents(node);
		const selection = window.getSelection();
		selection.removeAllRanges();
		selection.addRange(range);
	}

	/* The clipboard's API is there in secure contexts only; the older way works in a page of plain HTTP, too. */
	async function copy(node) {
		try {
			await navigator.clipboard.writeText(node.textContent);
			return true;
		} catch (refused) {
			select(node);
			return document.execCommand("copy");
		}
	}

	for (const button of document.querySelectorAll("button.copy")) {
		const text = button.parentElement.querySelector("code");
		const label = button.textContent;
		button.hidden = false;
		button.addEventListener("click", async function () {
			button.textContent = (await copy(text)) ? "Copied" : "Press Ctrl-C";
			window.setTimeout(function () {
				button.textContent = label;
			}, 2000);
		});
	}

	/* "/" goes to the search box. */
	const search = document.getElementById("q");
	if (search)
		document.addEventListener("keydown", function (event) {
			if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey &&
				!/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
				event.preventDefault();
				search.focus();
			}
		});
})();
