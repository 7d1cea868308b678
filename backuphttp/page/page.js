"use strict";

// The page works without this script, only less well. The script writes text, never HTML.

const base = new URL(".", document.currentScript.src).pathname;

function times() {
	const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
	for (const time of document.querySelectorAll("time[datetime]")) {
		time.title = time.textContent;
		time.textContent = format.format(new Date(time.dateTime));
	}
}

function zones() {
	const list = document.getElementById("zones");
	if (!list || !Intl.supportedValuesOf) return;
	for (const zone of Intl.supportedValuesOf("timeZone")) list.append(new Option(zone, zone));
}

// A checkbox that ticks all others in its fieldset.
function selectAll() {
	for (const line of document.querySelectorAll("[data-all]")) {
		const all = line.querySelector("input");
		const boxes = [...line.closest("fieldset").querySelectorAll(`input[name="${line.dataset.all}"]:enabled`)];
		const show = () => {
			const ticked = boxes.filter((box) => box.checked).length;
			all.checked = ticked > 0 && ticked === boxes.length;
			all.indeterminate = ticked > 0 && ticked < boxes.length;
		};
		all.addEventListener("change", () => {
			for (const box of boxes) box.checked = all.checked;
		});
		for (const box of boxes) box.addEventListener("change", show);
		show();
		line.hidden = boxes.length < 2;
	}
}

// The button is disabled until the word is typed.
function confirmations() {
	for (const input of document.querySelectorAll("[data-confirm]")) {
		const button = input.form.querySelector("button");
		const check = () => (button.disabled = input.value.trim() !== input.dataset.confirm);
		input.addEventListener("input", check);
		check();
	}
}

// Without this, the answer to a second click would be "something else is running".
function once() {
	const sent = new Set();
	document.addEventListener("submit", (event) => {
		if (sent.has(event.target)) event.preventDefault();
		sent.add(event.target);
	}, true);
	window.addEventListener("pageshow", () => sent.clear());
	return sent;
}

function uploads(sent) {
	for (const form of document.querySelectorAll("form[data-upload]")) {
		form.addEventListener("submit", (event) => {
			if (event.defaultPrevented) return;
			event.preventDefault();
			upload(form, () => sent.delete(form));
		});
	}
}

function upload(form, done) {
	const shown = form.querySelector("[data-upload-progress]");
	const bar = shown.querySelector("progress");
	const say = (text) => {
		const status = shown.querySelector("[role=status]");
		if (status.textContent !== text) status.textContent = text;
	};
	shown.hidden = false;
	const file = form.elements.file.files[0];
	if (file && file.size > Number(form.dataset.most)) {
		say(`This file is larger than ${size(Number(form.dataset.most))}, which is the limit here. Put it at one of the locations, or ask the person who runs the application to allow more.`);
		done();
		return;
	}
	const request = new XMLHttpRequest();
	say("Uploading…");
	request.upload.addEventListener("progress", (event) => {
		if (!event.lengthComputable) return;
		bar.value = (100 * event.loaded) / event.total;
		const tenth = Math.floor(bar.value / 10) * 10;
		say(tenth < 100 ? `Uploading: ${tenth} %` : "Reading what is in it…");
	});
	request.addEventListener("load", () => {
		if (request.status < 400) {
			location.assign(request.responseURL);
			return;
		}
		const problem = request.responseXML?.querySelector("#problem p")?.textContent;
		say(problem || `The upload was refused (${request.status}). Try again, or ask the person who runs the application.`);
		done();
	});
	request.addEventListener("error", () => {
		say("The connection broke. Check it, then upload the file again.");
		done();
	});
	request.open("POST", form.action);
	request.responseType = "document";
	request.send(new FormData(form));
}

const phases = { backup: "Writing", key: "Trying a passphrase", read: "Reading", check: "Checking", trace: "Following references", compare: "Comparing", restore: "Restoring", try: "Trying", confirm: "Reading back" };

function size(bytes) {
	const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
	let unit = 0;
	while (bytes >= 999.5 && unit < units.length - 1) (bytes /= 1000), unit++;
	return `${bytes.toFixed(unit === 0 || bytes >= 99.95 ? 0 : 1)} ${units[unit]}`;
}

function label(name) {
	const words = name.replaceAll(/[_-]/g, " ");
	return words.charAt(0).toUpperCase() + words.slice(1);
}

// Show the progress of a job: by Server-Sent Events, and if they do not come, by asking
// now and then.
function live() {
	for (const area of document.querySelectorAll("[data-job]")) follow(area);
}

function follow(area) {
	const part = (name) => area.querySelector(`[data-live="${name}"]`);
	const say = (name, text) => {
		if (part(name).textContent !== text) part(name).textContent = text;
	};
	const onItsPage = Boolean(area.closest("[data-job-page]"));
	const events = new EventSource(`${base}api/events`);
	let asking = 0;
	let stopped = false;

	function connected(yes) {
		part("connection").hidden = yes;
		say("connection", yes ? "" : "The connection is lost. What was started goes on without it; trying to connect again…");
	}

	// Without events, ask now and then. The server ends them after a while, and refuses
	// them if there are too many.
	function poll(yes) {
		clearInterval(asking);
		asking = yes ? setInterval(ask, 3000) : 0;
		if (yes) ask();
	}

	function show(job) {
		if (job.id !== area.dataset.job) return ask(); // another job has begun or ended
		if (job.ended) {
			stop();
			if (onItsPage) return location.reload();
			say("text", "It has ended.");
			say("announce", "It has ended.");
			area.querySelector("progress").hidden = true;
			return;
		}
		const progress = job.progress;
		if (!progress) return;
		const doing = `${phases[progress.phase] ?? progress.phase} ${label(progress.collection ?? "")}`.trim();
		const of = progress.total > 0 ? `, ${size(progress.bytes)} of ${size(progress.total)}` : "";
		say("announce", doing);
		say("text", progress.phase === "key" ? doing : `${doing}: ${progress.records.toLocaleString("en")} records${of}`);
		const bar = area.querySelector("progress");
		if (progress.total > 0) bar.value = Math.min(100, (100 * progress.bytes) / progress.total);
		else bar.removeAttribute("value");
	}

	async function ask() {
		try {
			const answer = await fetch(`${base}api/jobs/${encodeURIComponent(area.dataset.job)}`);
			if (stopped) return;
			connected(answer.status < 500);
			if (answer.ok) show(await answer.json());
			else if (answer.status < 500 && onItsPage) stop(), location.reload();
		} catch {
			if (!stopped) connected(false); // the timer asks again
		}
	}

	function stop() {
		stopped = true;
		events.close();
		clearInterval(asking);
	}

	events.addEventListener("job", (event) => {
		show(JSON.parse(event.data));
	});
	events.addEventListener("open", () => {
		poll(false);
		ask(); // the application may have restarted and have forgotten the job
	});
	events.addEventListener("error", () => poll(true));
	window.addEventListener("pagehide", stop);
}

times();
zones();
selectAll();
confirmations();
uploads(once());
live();
