"""Scores of lines, both ways, against lines whose distance is known; intervals against truth."""

import numpy as np
import pytest
import shapely
import shapely.affinity
from coasts import LEFT, TOP, UTM, coast, errors_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Geod, Transformer
from scipy.ndimage import binary_erosion

from geounet.distances import WGS84, Plane, summarise
from geounet.evaluate.blocks import BlockGrid, bootstrap, quantile
from geounet.evaluate.boundary import BOUNDARY_PX, near_boundaries
from geounet.evaluate.line_scores import medians

GEOD = Geod(ellps="WGS84")


class TestBothWays:
    @pytest.mark.parametrize("directed", [True, False])
    @pytest.mark.parametrize("offset", [-12.0, 7.0])
    def test_concentric_circles_have_their_known_offset_and_sign_each_way(
        self, offset, directed
    ) -> None:
        lon, lat = Plane(UTM).to_crs(WGS84)(np.zeros((1, 2)))[0]
        to_utm = Transformer.from_crs(4326, UTM.crs.proj, always_xy=True)

        def circle(radius: float) -> shapely.LineString:  # an island: land on the left
            azimuth = -np.linspace(0, 360, 4001)
            ones = np.ones_like(azimuth)
            xy = to_utm.transform(*GEOD.fwd(lon * ones, lat * ones, azimuth, radius * ones)[:2])
            return shapely.LineString(np.column_stack(xy))

        reference = circle(2000)
        errors = errors_of(
            [circle(2000 + offset)],
            [reference if directed else reference.reverse()],
            directed=directed,
        )
        scores = errors.record(seed=0)
        for way in ("predicted", "truth"):
            metres = scores[way]["metres"]
            for name in ("mean_signed", "median_signed"):
                assert metres[name] == pytest.approx(offset, abs=0.01), (way, name)
            for name in ("mean", "median", "rmse", "p95"):
                assert metres[name] == pytest.approx(abs(offset), abs=0.01), (way, name)
            assert metres["spread_rmse"] < 0.01

    def test_a_false_islet_counts_in_correctness_only_and_a_missed_one_in_completeness(
        self,
    ) -> None:
        islet = shapely.LineString(
            shapely.Point(LEFT + 2000, TOP - 3000).buffer(100).exterior.coords
        )
        alike, around = coast(0), islet.length
        extra = errors_of([alike, islet], [alike]).record(seed=0)
        missed = errors_of([alike], [alike, islet]).record(seed=0)
        share = alike.length / (alike.length + around)
        for row in extra["buffers"]:
            assert row["correctness"] == pytest.approx(share, abs=1e-4)
            assert row["completeness"] == 1
        for row in missed["buffers"]:
            assert row["completeness"] == pytest.approx(share, abs=1e-4)
            assert row["correctness"] == 1
        for scores, what in ((extra, "extra"), (missed, "missed")):
            alone = [place for place in scores["worst"] if place["distance_m"] is None]
            assert sum(place["length_m"] for place in alone) == pytest.approx(around, rel=0.01)
            assert {place["what"] for place in alone} == {what}
        assert extra["predicted"]["unmatched_m"] == pytest.approx(around, rel=0.01)
        assert extra["truth"]["unmatched_m"] == 0

    def test_a_shifted_square_has_the_completeness_of_its_geometry(self) -> None:
        # Moved by 15 m along one side: two sides are 15 m off, two slide along themselves.
        side = shapely.box(LEFT + 3000, TOP - 4000, LEFT + 4000, TOP - 3000)
        square = shapely.LineString(side.exterior.coords)
        moved = shapely.affinity.translate(square, 15, 0)
        rows = errors_of([moved], [square], block_m=300.0).record(seed=0)["buffers"]
        shares = {row["metres"]: (row["correctness"], row["completeness"]) for row in rows}
        # The sides that slide stick out by 15 m, of which what lies beyond the buffer is off.
        for width, off in ((10.0, 2 * 1000 + 2 * 5), (20.0, 0)):
            expected = 1 - off / 4000
            assert shares[width] == pytest.approx((expected, expected), abs=0.004)

    def test_buffers_in_metres_and_pixels_agree_and_reach_beyond_what_matches(self) -> None:
        rows = errors_of([coast(25)], [coast(0)], reach=20.0).record(seed=0)
        by_unit = {
            unit: [row["correctness"] for row in rows["buffers"] if row["given_in"] == unit]
            for unit in ("metres", "pixels")
        }
        assert by_unit["metres"] == by_unit["pixels"], "of pixels of 10 m they are the same"
        assert by_unit["metres"][-1] == 1
        assert by_unit["metres"][0] == 0
        assert rows["predicted"]["matched_share"] < 0.5

    def test_figures_without_draws_are_those_of_numpy(self) -> None:
        rng = np.random.default_rng(4)
        xy = shapely.get_coordinates(coast(0))
        rough = shapely.LineString(xy + np.column_stack((rng.normal(0, 20, len(xy)), 0 * xy[:, 0])))
        errors = errors_of([rough], [coast(0)], reach=30.0)
        scores = errors.record(seed=0)
        for way, matches in zip(("predicted", "truth"), errors.matched, strict=True):
            expected = summarise(matches, errors.plane.pixel_m)
            found = scores[way]
            assert found["metres"] | expected["metres"] == found["metres"]
            signed, block = matches.signed_m, errors.blocks[0 if way == "predicted" else 1]
            residual = np.concatenate([
                own - np.median(own)
                for own in (
                    signed[matches.found & (block == b)] for b in np.unique(block[matches.found])
                )
            ])  # fmt: skip
            assert found["metres"]["spread_rmse"] == pytest.approx(np.sqrt((residual**2).mean()))
            assert found["metres"]["spread_nmad"] == pytest.approx(
                1.4826 * np.median(np.abs(residual))
            )


class TestShiftOfDatum:
    def test_it_is_an_offset_and_no_error_of_shape(self) -> None:
        # A gently waving coast moved seaward as a whole by 12 m.
        scores = errors_of(
            [coast(12, wiggle=10, wave=2000)], [coast(0, wiggle=10, wave=2000)]
        ).record(seed=0)
        metres = scores["predicted"]["metres"]
        assert metres["median_signed"] == pytest.approx(12, abs=0.1)
        assert metres["rmse"] == pytest.approx(12, abs=0.1)
        assert metres["spread_nmad"] < 0.1
        assert metres["spread_rmse"] < 0.1
        matched = [one for one in scores["kilometres"] if one["matched_m"] > 500]
        assert len(matched) >= 6
        for one in matched:
            assert one["median_signed_m"] == pytest.approx(12, abs=0.1)

    def test_a_shift_of_some_kilometres_only_is_in_their_rows(self) -> None:
        xy = shapely.get_coordinates(coast(0, wiggle=0))
        north = xy[:, 1] > TOP - 3000
        moved = shapely.LineString(xy - np.column_stack((np.where(north, 20.0, 0.0), 0 * xy[:, 0])))
        scores = errors_of([moved], [coast(0, wiggle=0)]).record(seed=0)
        offsets = [
            (one["lat"], one["median_signed_m"])
            for one in scores["kilometres"]
            if one["matched_m"] > 800
        ]
        values = [offset for _, offset in sorted(offsets)]
        assert values[:2] == pytest.approx([0, 0], abs=0.01)
        assert values[-2:] == pytest.approx([20, 20], abs=0.01)
        assert scores["predicted"]["metres"]["spread_nmad"] < 0.1
        assert scores["predicted"]["metres"]["rmse"] > 10


class TestIntervals:
    def test_they_cover_the_truth_as_often_as_they_say(self) -> None:
        # Errors of one block have a part in common: the number of points is no help.
        rng = np.random.default_rng(7)
        blocks, points, rounds = 40, 25, 120
        inside = {"mean": 0, "median": 0}
        member = np.repeat(np.arange(blocks), points)
        for _ in range(rounds):
            values = rng.normal(0, 1, blocks)[member] + rng.normal(0, 0.5, len(member))
            order = np.argsort(values)
            sums = np.bincount(member, values, blocks)

            def figures(times, values=values, order=order, sums=sums):
                return {
                    ("mean",): float(times @ sums) / (points * blocks),
                    ("median",): quantile(values[order], times[member[order]], 0.5),
                }

            found = bootstrap(figures, blocks, seed=int(rng.integers(2**31)))
            for name in inside:
                low, high = found[name,]
                inside[name] += low <= 0 <= high
        for name, count in inside.items():
            assert 0.87 <= count / rounds <= 0.99, name

    def test_they_hold_the_figure_and_repeat_with_their_seed(self) -> None:
        rng = np.random.default_rng(5)
        xy = shapely.get_coordinates(coast(0))
        slow = np.interp(xy[:, 1], np.arange(TOP - 7000, TOP + 600, 50), rng.normal(0, 8, 152))
        errors = errors_of(
            [shapely.LineString(xy - np.column_stack((slow, 0 * slow)))], [coast(0)], block_m=500
        )
        one, again, other = (errors.record(seed=seed) for seed in (1, 1, 2))
        assert one == again
        assert one["predicted"]["interval"] != other["predicted"]["interval"]
        for name, value in one["predicted"]["metres"].items():
            low, high = one["predicted"]["interval"]["metres"][name]
            assert low <= value <= high
            assert high - low < 8

    def test_few_blocks_are_said_and_two_give_none(self) -> None:
        few = errors_of([coast(0)], [coast(3)], block_m=2500.0).record(seed=0)
        assert few["intervals"]["few"]
        assert few["intervals"]["known"]
        none = errors_of([coast(0)], [coast(3)], block_m=60_000.0).record(seed=0)
        assert not none["intervals"]["known"]
        assert none["predicted"]["interval"]["metres"]["mean"] is None

    @given(
        st.lists(st.integers(0, 4), min_size=1, max_size=30),
        st.sampled_from([0.0, 0.025, 0.5, 0.95, 1.0]),
    )
    def test_a_quantile_is_numpys_of_values_repeated(self, times, share) -> None:
        values = np.sort(np.random.default_rng(len(times)).normal(size=len(times)))
        repeated = np.repeat(values, times)
        found = quantile(values, np.array(times), share)
        if len(repeated):
            assert found == pytest.approx(np.quantile(repeated, share))
        else:
            assert np.isnan(found)

    @given(st.lists(st.tuples(st.integers(0, 4), st.floats(-9, 9)), max_size=40))
    def test_medians_are_numpys(self, pairs) -> None:
        member = np.array([m for m, _ in pairs], dtype=np.intp)
        values = np.array([v for _, v in pairs])
        found = medians(values, member, 6)
        for group in range(6):
            own = values[member == group]
            assert found[group] == pytest.approx(
                np.median(own) if len(own) else np.nan, nan_ok=True
            )


class TestBlocks:
    @pytest.mark.parametrize(("lon", "lat"), [(2.0, 48.0), (179.99, -17.0), (20.0, 84.0), (0, 0)])
    def test_a_block_is_about_a_kilometre_each_way_wherever_it_is(self, lon, lat) -> None:
        rng = np.random.default_rng(3)
        east, north = rng.uniform(-4000, 4000, (2, 40_000))
        azimuth, distance = np.degrees(np.arctan2(east, north)), np.hypot(east, north)
        ones = np.ones(len(east))
        lons, lats, _ = GEOD.fwd(lon * ones, lat * ones, azimuth, distance)
        numbers = BlockGrid(1000.0).numbers(lons, lats)
        found, member = np.unique(numbers, return_inverse=True)
        wide = np.array([np.ptp(east[member == i]) for i in range(len(found))])
        high = np.array([np.ptp(north[member == i]) for i in range(len(found))])
        assert np.median(wide) == pytest.approx(1000, rel=0.15)
        assert np.median(high) == pytest.approx(1000, rel=0.15)
        assert max(wide.max(), high.max()) < 1300

    def test_places_on_both_sides_of_180_degrees_are_of_one_row(self) -> None:
        numbers = BlockGrid(1000.0).numbers(np.array([180.0, -180.0, 179.9999]), np.full(3, -17.0))
        assert numbers[0] == numbers[1] != numbers[2]


class TestBoundaryIoU:
    @given(
        arrays(np.uint8, (11, 13), elements=st.integers(0, 2)),
        arrays(np.uint8, (11, 13), elements=st.integers(0, 2)),
        arrays(np.bool_, (11, 13)),
    )
    def test_it_is_that_of_eroding_by_brute_force(self, one, other, known) -> None:
        found = {(d, c): (both.sum(), either.sum())
                 for d, c, both, either in near_boundaries(one, other, known, 3)}  # fmt: skip
        for distance in BOUNDARY_PX:
            square = np.ones((2 * distance + 1,) * 2)
            for number in range(3):
                near = []
                for values in (one, other):
                    inside = known & (values == number)
                    # What is not known, and what lies beyond, erodes nothing.
                    eroded = binary_erosion(inside | ~known, square, border_value=1)
                    near.append(inside & ~eroded)
                expected = ((near[0] & near[1]).sum(), (near[0] | near[1]).sum())
                assert found.get((distance, number), (0, 0)) == expected

    def test_it_is_that_of_chips(self) -> None:
        torch = pytest.importorskip("torch")
        from geounet.metrics import all_figures, count_chips

        rng = np.random.default_rng(0)
        field = rng.normal(size=(2, 40, 40)).cumsum(1).cumsum(2)
        one, label = (field > 0).astype(np.uint8)
        known = rng.random((40, 40)) > 0.05
        logits = torch.nn.functional.one_hot(torch.tensor(one).long(), 2).movedim(-1, 0)[None]
        marked = torch.tensor(np.where(known, label, 255))[None]
        counts = count_chips(10.0 * logits, marked, water=[False, True])
        expected = all_figures(counts.total(), ("land", "water"))
        for distance, number, both, either in near_boundaries(one, label, known, 2):
            name = ("boundary_iou", str(distance), ("land", "water")[number])
            assert both.sum() / either.sum() == pytest.approx(expected[name].item())
