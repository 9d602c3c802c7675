"""Looks at the status page with a real browser and reports what is wrong. Prints scenarios for the simulator too."""

import base64
import json
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

from servers import fail, read

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
# Bytes of the page of a thousand webhooks, and seconds that it may take on a machine that has other work.
MAX_BYTES = 300 * 1024
HOSTILE = "\"><script>document.title='taken over'</script><b>&amp;</b>' onmouseover='x"

# What the sentence on top begins with.
HEADLINES = {
    "demo": "",
    "thousand": "",
    "outage": "Requests to the API of production are failing, since",
    "first": "Reading the logs of",
    "hostile": "",
}

# WCAG 2.2, success criterion 1.4.3: text needs a contrast of 4.5 to what is behind it.
CONTRAST = """
const luminance = color => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(value => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = element => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$|transparent/.test(color)) return color;
  }
  return getComputedStyle(document.documentElement).backgroundColor;
};
const poor = new Set();
for (const element of document.querySelectorAll("main *")) {
  const text = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!text || element.closest("svg, progress") || !element.checkVisibility()) continue;
  const [one, other] = [getComputedStyle(element).color, background(element)].map(luminance).sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  if (ratio < 4.5) poor.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
}
return [...poor];
"""


class Browser:
    """A browser without a window, by the WebDriver protocol."""

    def __init__(self):
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        # It says first that it starts on port 0, and then which one it was given.
        for line in self.driver.stdout:
            if "successfully on port " in line:
                self.base = f"http://127.0.0.1:{line.rsplit('port ', 1)[1].strip(' .' + chr(10))}"
                break
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-proxy-server",
            "--hide-scrollbars",
        ]
        wanted = {"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{session['sessionId']}"

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            reason = error.read().decode()
            # A page that is slow to appear is not a fault of the page.
            if "aborted by navigation" in reason:
                return self.ask(method, path, body)
            return fail(f"{path}: {reason}")

    def run(self, script):
        return self.ask("POST", f"{self.session}/execute/sync", {"script": script, "args": []})

    def devtools(self, command, **parameters):
        return self.ask("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show(self, url, width, scheme):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("POST", f"{self.session}/url", {"url": url})

    def picture(self, path):
        taken = self.devtools("Page.captureScreenshot", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(taken["data"]))

    def complaints(self):
        lines = self.ask("POST", f"{self.session}/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    def close(self):
        self.ask("DELETE", self.session)
        self.driver.terminate()
        self.driver.wait()


def check(browser, what):
    """What must hold of every page, however wide and in whatever colours."""
    wide = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wide > 0:
        fail(f"{what}: the page is {wide} pixels wider than the window")
    if poor := browser.run(CONTRAST):
        fail(f"{what}: too little contrast: {poor}")
    unnamed = "return [...document.querySelectorAll('input, select')].filter(one => !one.labels.length).length"
    if browser.run(unnamed):
        fail(f"{what}: a field has no label")
    if browser.run("return document.title").startswith("taken over"):
        fail(f"{what}: a name was run as a script")
    if found := browser.complaints():
        fail(f"{what}: the browser complains: {found}")


def look(scene, address, pictures):
    began = time.monotonic()
    page = read(f"{address}/")
    took = time.monotonic() - began
    if len(page.encode()) > MAX_BYTES:
        fail(f"{scene}: the page has {len(page.encode())} bytes")
    browser = Browser()
    for width in WIDTHS:
        for scheme in SCHEMES:
            what = f"{scene}-{width}-{scheme}"
            browser.show(f"{address}/", width, scheme)
            headline = browser.run("return document.querySelector('.headline').innerText")
            if HEADLINES[scene] not in headline:
                fail(f"{what}: it says {headline!r}")
            browser.picture(pictures / f"{what}.png")
            check(browser, what)
            link = browser.run("return document.querySelector('th.name a')?.href")
            if link:
                browser.show(link, width, scheme)
                browser.picture(pictures / f"{what}-webhook.png")
                check(browser, f"{what}-webhook")
                if not browser.run("return document.querySelector('h1').innerText"):
                    fail(f"{what}: the page of the webhook has no title")
    check_refresh(browser, scene, address)
    browser.close()
    print(f"{scene}: {len(page.encode())} bytes in {took * 1000:.0f} ms: {headline.splitlines()[-1]}")


def check_refresh(browser, scene, address):
    """With JavaScript, the page refreshes itself."""
    browser.show(f"{address}/", 1280, "light")
    shown = "return document.querySelector('.updated time').dateTime"
    before = browser.run(shown)
    deadline = time.monotonic() + 60
    while browser.run(shown) == before:
        if time.monotonic() > deadline:
            fail(f"{scene}: the page does not refresh itself")
        time.sleep(0.5)


def webhook(number, name, **settings):
    return {
        "id": f"9fd00000-0000-4000-8000-{number:012}",
        "name": name,
        "url": "https://hooks.example.com/in",
        "owner": {"type": "agent", "id": f"9fd0a000-0000-4000-8000-{number % 20:012}", "name": f"Agent {number % 20}"},
        "events": [{"name": "event_phone_call_ended"}],
    } | settings


def scenario(name):
    broken = {"failures": {"probability": 1.0, "statuses": [{"status": 503}, {"status": 404}]}, "max_retries": 0}
    flaky = {"failures": {"probability": 0.3, "statuses": [{"status": 502}]}, "max_retries": 0}
    if name == "thousand":
        kinds = [broken if number % 97 == 5 else flaky if number % 53 == 7 else {} for number in range(1000)]
        hooks = [webhook(n, f"orders {n:04}", rate=0.002 * (n % 5), **kind) for n, kind in enumerate(kinds)]
        return {"history": "2h", "rate_limit_per_minute": 1000000, "webhooks": hooks}
    if name == "first":
        return {"history": "24h", "webhooks": [webhook(n, f"calls {n}", rate=0.5) for n in range(3)]}
    names = [HOSTILE, "\u202egnp.exe", "ü" * 300, "<img src=x onerror=alert(1)>", "ok"]
    hooks = [webhook(n, text, rate=0.2, **broken) for n, text in enumerate(names)]
    for hook in hooks:
        hook["owner"]["name"] = HOSTILE
        hook["events"] = [{"name": HOSTILE}]
    return {"history": "20m", "webhooks": hooks}


if __name__ == "__main__":
    if sys.argv[1] == "scenario":
        # JSON is YAML.
        json.dump(scenario(sys.argv[2]), sys.stdout)
    else:
        look(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))
