// A visitor of a site that somebody publishes to (tests/browser/story.sh): node story.mjs URL SCREENSHOTS KIND. Prints "command …", what the
// visitor takes away, beside results.
//
// KIND: "finds" who comes for the first time, with a word of what the publisher wrote; "returns" when there is a second version.
import { clipboard, copy, go_through, is, kind, like, names, shoot, visit } from "./visitor.mjs";

async function takes_away(page, version) {
	const copied = await copy(page, (button) => button.click());
	like("what Copy puts into the clipboard is a command", copied, new RegExp(`^rondo run 'http:\\S+/harbour\\.tiny:${version}@sha256:[0-9a-f]{64}#[A-Za-z0-9_-]+'$`));
	console.log(`command ${copied}`);
}

async function finds() {
	const { page } = await visit("", clipboard);
	is("the front page has all images", await names(page), "first:1 harbour.tiny:1");
	await page.getByRole("searchbox").fill("lighthouse");
	await page.getByRole("button", { name: "Search" }).click();
	await page.waitForURL("**/search?**");
	is("a word of its description finds the image", await names(page), "harbour.tiny:1");
	await page.locator(".card", { hasText: "harbour.tiny" }).click();
	await page.waitForURL("**/images/harbour.tiny/**");
	is("whose page has its title", await page.locator("h1").textContent(), "Tiny of the harbour");
	is("and its logo", await page.locator(".hero img").evaluate((i) => i.complete && i.naturalWidth), 1);
	await takes_away(page, 1);
	await shoot(page, "image");
}

async function returns() {
	const { page } = await visit("images/harbour.tiny/", clipboard);
	const column = (number) => page.locator(`tbody tr td:nth-child(${number})`).allInnerTexts();
	is("both versions are there, the newest first", (await page.locator("tbody tr td:first-child .mono").allTextContents()).join(" "), "2 1");
	const [update, whole] = await column(3);
	like("the first one is new as a whole", whole, /^\d+(\.\d)? MiB$/);
	like("of the second one it is what was changed", update, /^\d+(\.\d)? KiB$/);
	await takes_away(page, 2);
	await shoot(page, "image");
}

await go_through([kind === "finds" ? finds : returns]);
