"""stitcher.provenance: whole jobs whose outputs say that they are partly synthetic, or not, and are signed, or not."""

import json
import os
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.report.verify import verify_job
from media.base.errors import ConfigError, ContractBroken
from media.source_video import scan_video
from stitcher.disclosure.embedded import stated_ranges
from stitcher.disclosure.manifest import Claim, Signing, sign_file
from stitcher.disclosure.statement import SOURCE_TYPE, Disclosure
from tests.support.certificates import make_chain
from tests.support.commands import ROOT
from tests.support.doubles import Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick
from tests.support.synthetic import independent_packets

RENDERED = [(8, 40), (60, 90)]
c2pa = pytest.importorskip("c2pa", reason="c2pa-python is an optional extra")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disclosed")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 5 * rate], rate)
    (folder / "weights.bin").write_bytes(b"weights")
    return folder, make_chain(folder)


def job_in(folder, stitcher, **changes):
    content = {
        "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
        "output": "out.mp4",
        "segmenter": {"detector": "cascade", "embedder": "none"},
        "renderer": {"checkpoint": "weights.bin", "device": "cpu"},
        "stitcher": {"video": {"crf": 6}, "report": "json", **stitcher},
        "execution": {"backend": "serial"},
        **changes,
    }
    return load_job(write_job(folder, **content))


@pytest.fixture
def run(material, tmp_path):
    """Run a job in a folder of its own; return (config, report, what was said)."""
    folder, _ = material
    for name in ("talk.mp4", "dub.wav", "weights.bin"):
        shutil.copy(folder / name, tmp_path / name)

    def run(stitcher=None, **changes):
        config, said = job_in(tmp_path, stitcher or {}, **changes), Listening()
        run_quick(config, said, force=True)
        return config, load_report(config.output), said

    return run


def signed_with(chain, **changes):
    return {"provenance": "c2pa", "signing": {"certificate": chain.certificate, "key": chain.key, **changes}}


def checks_of(report):
    return {check["promise"]: check["found"] for check in report["checks"]}


def said_by_verify(config):
    listening = Listening()
    assert verify_job(config, listening) == 0
    return "\n".join(listening.said)


def test_an_output_says_by_default_what_is_synthetic_in_it(run):
    config, report, _ = run()
    assert report["disclosure"] == {"kind": "metadata", "note": "partly synthetic in 2 ranges, as its metadata says"}
    assert checks_of(report)["disclosed"] == "2 synthetic ranges, in XMP"
    assert "2 synthetic ranges, in XMP" in said_by_verify(config)


def test_verify_finds_that_it_no_longer_says_so(run):
    config, _, _ = run()
    content = config.output.read_bytes()
    assert content.count(SOURCE_TYPE.encode()) == 1
    config.output.write_bytes(content.replace(b"compositeWithTrained", b"compositeWithNothing"))
    with pytest.raises(ContractBroken, match="does not say which parts of it are synthetic"):
        verify_job(config, Listening())


def test_none_says_nothing_and_the_report_says_that(run):
    config, report, _ = run({"provenance": "none"})
    note = "partly synthetic in 2 ranges, which it does not say, as stitcher.provenance asks"
    assert report["disclosure"] == {"kind": "none", "note": note}
    assert SOURCE_TYPE.encode() not in config.output.read_bytes()
    assert "disclosed" not in checks_of(report)
    verify_job(config, Listening())


def test_a_format_without_a_place_for_it_is_warned_of(run):
    _, report, said = run(output="out.ts")
    assert report["disclosure"]["kind"] == "none"
    assert any(".ts files have no place for that" in text for text in said.warned)


def test_what_is_not_touched_is_not_synthetic(run):
    """An extraction of frames without a face: not even where it is asked to be signed."""
    config, report, said = run(
        {"provenance": "metadata"}, mode="extract", ranges=[{"start": 1.7, "end": 2.3}], extract={"join": True}
    )
    assert report["num_rendered_frames"] == 0
    assert report["disclosure"] == {"kind": "none", "note": "nothing in it is synthetic"}
    assert SOURCE_TYPE.encode() not in config.output.read_bytes()
    assert not said.warned


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_the_source_says_of_itself_stays_said(run, tmp_path, suffix):
    """An output of an earlier job as the source: of what was synthetic there, all that is shown still is."""
    first, _, _ = run(output=f"first{suffix}", ranges=[{"start": 0, "end": 2}])
    inputs = {"video": first.output.name, "audio": "dub.wav", "length_policy": "cut"}
    second, report, _ = run(input=inputs, output=f"second{suffix}", ranges=[{"start": 2, "end": 3.9}])
    assert report["check"]["spans"] == [[60, 90]]
    assert report["disclosure"]["note"] == "partly synthetic in 2 ranges, as its metadata says"
    table = scan_video(second.output).table
    frames = [
        tuple(table.frame_at(time - Fraction(1, 10**6)) for time in part) for part in stated_ranges(second.output)
    ]
    assert frames == RENDERED
    assert verify_job(second, Listening()) == 0
    parts = {"mode": "extract", "ranges": [{"start": 1, "end": 2.2}], "extract": {"join": True}}
    inputs["video"] = second.output.name
    (tmp_path / "none.csv").write_text("start,stop,kind\n0,4,no_face\n")
    faces = {"detector": "cascade", "embedder": "none", "spans": "none.csv"}
    third, report, _ = run(input=inputs, output=f"third{suffix}", segmenter=faces, **parts)
    assert report["num_rendered_frames"] == 0
    assert [tuple(map(float, part)) for part in stated_ranges(third.output)] == [(0.0, 0.6)]


# Signed


def manifest_of(path, root, media_type="video/mp4"):
    """Return (state, active manifest) of a file, as the library reads it for who trusts the root."""
    settings = {"verify": {"verify_trust": True}, "trust": {"trust_anchors": root}}
    with path.open("rb") as file, c2pa.Reader(media_type, file, context=c2pa.Context.from_dict(settings)) as reader:
        found = json.loads(reader.json())
        return found["validation_state"], found["manifests"][found["active_manifest"]]


@pytest.mark.parametrize(("output", "media_type"), [("out.mp4", "video/mp4"), ("out.mov", "video/quicktime")])
def test_a_signed_output_is_read_back_by_the_library(run, material, output, media_type):
    _, chain = material
    config, report, _ = run(signed_with(chain), output=output)
    assert report["disclosure"]["kind"] == "c2pa"
    state, manifest = manifest_of(config.output, chain.root, media_type)
    assert state == "Trusted"
    assert manifest["claim_generator_info"][0]["name"] == "lipstitch"
    assert [(each["title"], each["relationship"]) for each in manifest["ingredients"]] == [("talk.mp4", "parentOf")]
    actions = next(each for each in manifest["assertions"] if each["label"] == "c2pa.actions.v2")["data"]["actions"]
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"] == SOURCE_TYPE
    times = [change["region"][0]["time"] for change in actions[1]["changes"]]
    rendered = [[float(Fraction(frame, 25)) for frame in part] for part in report["check"]["spans"]]
    borders = sorted({second for part in rendered for second in part})
    assert {float(time[key]) for time in times for key in ("start", "end")} <= set(borders)
    assert checks_of(report)["disclosed"] == "2 synthetic ranges, in XMP; signed by Test Studio (C2PA)"
    assert "signed by Test Studio" in said_by_verify(config)


def packets_of(path, kind):
    return [(packet.pts, packet.payload) for packet in independent_packets(path, kind)]


def test_signing_changes_no_packet_and_leaves_nothing_behind(run, material):
    config, _, _ = run()
    unsigned = [packets_of(config.output, kind) for kind in ("video", "audio")]
    config, _, _ = run(signed_with(material[1]))
    assert [packets_of(config.output, kind) for kind in ("video", "audio")] == unsigned
    assert [path.name for path in config.output.parent.glob("*.part")] == []


def test_a_changed_byte_breaks_the_signature(run, material):
    config, _, _ = run(signed_with(material[1]))
    content = bytearray(config.output.read_bytes())
    at = content.rindex(b"mdat") + 2000  # the manifest names this box, too
    content[at] ^= 1
    config.output.write_bytes(content)
    with pytest.raises(ContractBroken):
        verify_job(config, Listening())
    state, _ = manifest_of(config.output, material[1].root)
    assert state == "Invalid"


def test_an_earlier_manifest_of_the_source_is_carried_along(run, material):
    _, chain = material
    first, _, _ = run(signed_with(chain))
    first.output.rename(first.output.with_name("signed.mp4"))
    second, _, _ = run(
        signed_with(chain),
        input={"video": "signed.mp4", "audio": "dub.wav", "length_policy": "cut"},
        output="second.mp4",
    )
    state, manifest = manifest_of(second.output, chain.root)
    assert state == "Trusted"
    assert [each["title"] for each in manifest["ingredients"]] == ["signed.mp4"]
    assert "active_manifest" in manifest["ingredients"][0]


# Refused before the work


def refused(folder, stitcher, **changes):
    with pytest.raises(ConfigError) as caught:
        run_quick(job_in(folder, stitcher, **changes), Listening(), force=True)
    return str(caught.value)


def test_what_cannot_be_signed_is_refused_at_once(material):
    folder, chain = material
    said = refused(folder, signed_with(chain), output="out.mkv")
    assert said == (
        "stitcher.provenance: .mkv files cannot hold a signed manifest. Use .mp4, .m4v, .mov, or provenance: metadata."
    )
    assert not (folder / "out.mkv.lipstitch").exists()


def test_signing_needs_a_certificate(material):
    folder, _ = material
    with pytest.raises(ConfigError, match=r"give signing: \{certificate, key\}"):
        job_in(folder, {"provenance": "c2pa"})


def test_a_certificate_that_cannot_sign_is_refused_at_once(material, tmp_path):
    folder, chain = material
    other, late = make_chain(tmp_path, "Other"), make_chain(tmp_path, "Late", days=-1)
    (tmp_path / "torn.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB")
    cases = {
        "another key": {"key": other.key},
        "the certificate is expired": {"certificate": late.certificate, "key": late.key},
        "no such file": {"certificate": tmp_path / "absent.pem"},
        "not a certificate": {"certificate": tmp_path / "torn.pem"},
        "another algorithm": {"algorithm": "ed25519"},
    }
    for case, changes in cases.items():
        said = refused(folder, signed_with(chain, **changes))
        assert said.startswith("stitcher.signing: "), case
        assert said.count("\n") == 0, case


def test_without_the_library_it_is_said_what_to_install(material, monkeypatch):
    folder, chain = material
    monkeypatch.setitem(sys.modules, "c2pa", None)
    said = refused(folder, signed_with(chain))
    assert said == "stitcher.signing: signing needs c2pa-python (pip install 'lipstitch[provenance]')."


def test_jobs_in_two_threads_leave_the_environment_as_it_was(material, tmp_path, monkeypatch):
    folder, chain = material
    monkeypatch.setenv("TMPDIR", "/before")
    claim = Claim(Disclosure("lipstitch 1", ((0, 10),), Fraction(1, 25)), "out.mp4", folder / "talk.mp4")
    signing = Signing(chain.certificate, chain.key, "es256", None)
    places = [tmp_path / name for name in "ab"]
    for place in places:
        place.mkdir()
    for _ in range(5):
        with ThreadPoolExecutor() as threads:
            done = [
                threads.submit(sign_file, folder / "talk.mp4", place / "signed.mp4", signing, claim) for place in places
            ]
        assert all(each.exception() is None for each in done)
        assert os.environ["TMPDIR"] == "/before"


# Large files

SIGN = """
import sys
from fractions import Fraction
from pathlib import Path
from stitcher.disclosure.manifest import Claim, Signing, sign_file, verify_manifest
from stitcher.disclosure.statement import Disclosure

unsigned, signed, certificate, key = map(Path, sys.argv[1:])
claim = Claim(Disclosure("lipstitch 1", ((0, 10),), Fraction(1, 25)), "out.mp4", unsigned)
sign_file(unsigned, signed, Signing(certificate, key, "es256", None), claim)
print(verify_manifest(signed))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak_of_signing(folder, chain, megabytes):
    """Return the peak of memory, in MiB, of a process that signs a file of that size, and checks it."""
    unsigned, signed = folder / f"{megabytes}.mp4", folder / f"{megabytes}.signed.mp4"
    moved = folder / "moved.mp4"
    with av.open(folder / "talk.mp4") as reader, av.open(moved, "w", options={"movflags": "+faststart"}) as writer:
        target = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = target
                writer.mux(packet)
    content = moved.read_bytes()
    at = content.rindex(b"mdat") - 4  # the last box, which more samples follow that nothing names
    size = struct.pack(">I", len(content) - at + (megabytes << 20))
    with unsigned.open("wb") as file:
        file.write(content[:at] + size + content[at + 4 :])
        file.truncate(len(content) + (megabytes << 20))
    environment = {**os.environ, "TMPDIR": str(folder / "absent")}  # no copy of the file may need that
    command = [sys.executable, "-c", SIGN, unsigned, signed, chain.certificate, chain.key]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    said, peak = done.stdout.splitlines()
    assert said == "signed by Test Studio (C2PA)"
    assert signed.stat().st_size > megabytes << 20
    return int(peak) / 1024


def test_memory_does_not_grow_with_what_is_signed(material):
    folder, chain = material
    small, large = (peak_of_signing(folder, chain, megabytes) for megabytes in (1, 160))
    assert large < small + 40
