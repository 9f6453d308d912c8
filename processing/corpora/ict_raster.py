"""The compiled part of the 3-D renderer: blending shapes, normals, a z-buffer, shading a sample.

Everything here is plain loops over float32 arrays, compiled by numba. Camera space is x right, y up, z toward the
camera; sample coordinates are x right, y down. A triangle faces the camera when its corners run counter-clockwise on
screen.
"""

import numpy as np
from numba import njit

SKIN, PLAIN, EYE = 0, 1, 2  # how a triangle is coloured
SAME_SURFACE = np.float32(0.35)  # centimetres of depth within a pixel
FLAT, INSIDE = np.float32(-1e-6), np.float32(-1e-5)
CAMERA_TO_PIVOT = np.float32(8.0)  # a camera's distance counts from the face, this far before the pivot


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def add_shapes(vertices, weights, starts, indices, deltas):
    """vertices (V, 3) += sum of weights (B,) x sparse shapes; shape b is rows starts[b]:starts[b + 1]."""
    for shape in range(len(weights)):
        weight = weights[shape]
        if weight != 0:
            for row in range(starts[shape], starts[shape + 1]):
                vertex = indices[row]
                vertices[vertex, 0] += weight * deltas[row, 0]
                vertices[vertex, 1] += weight * deltas[row, 1]
                vertices[vertex, 2] += weight * deltas[row, 2]


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def vertex_normals(vertices, triangles, normals):
    """Area-weighted unit normals (V, 3), written into `normals`."""
    normals[:] = 0
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ux, uy, uz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        vx, vy, vz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for v in range(len(normals)):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2) + np.float32(1e-12)
        normals[v, 0] /= length
        normals[v, 1] /= length
        normals[v, 2] /= length


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def rasterize(screen, depth, triangles, nearest, owner, barycentric):
    """Fills the z-buffer.

    screen (V, 2) in samples, depth (V,) larger is nearer. nearest (S, S), owner (S, S) the triangle seen or -1, and
    barycentric (S, S, 2), the weights of its first two corners, are written.
    """
    side = nearest.shape[0]
    nearest[:] = -1e30
    owner[:] = -1
    zero, half, one, edge = np.float32(0), np.float32(0.5), np.float32(1), np.float32(side)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area > FLAT:
            continue
        left, right = min(ax, bx, cx), max(ax, bx, cx)
        top, bottom = min(ay, by, cy), max(ay, by, cy)
        if right < zero or bottom < zero or left > edge or top > edge:
            continue
        x0, x1 = int(np.ceil(max(left, half) - half)), int(np.floor(min(right, edge - half) - half))
        y0, y1 = int(np.ceil(max(top, half) - half)), int(np.floor(min(bottom, edge - half) - half))
        if x0 > x1 or y0 > y1:
            continue
        # Barycentric weights are linear across the screen: one step a sample instead of two cross products.
        scale = one / area
        step_x0, step_y0 = (by - cy) * scale, (cx - bx) * scale
        step_x1, step_y1 = (cy - ay) * scale, (ax - cx) * scale
        from_x, from_y = np.float32(x0) + half - cx, np.float32(y0) + half - cy
        row0, row1 = from_x * step_x0 + from_y * step_y0, from_x * step_x1 + from_y * step_y1
        az, bz, cz = depth[a] - depth[c], depth[b] - depth[c], depth[c]
        for y in range(y0, y1 + 1):
            w0, w1 = row0, row1
            for x in range(x0, x1 + 1):
                if min(w0, w1, one - w0 - w1) >= INSIDE:
                    z = cz + w0 * az + w1 * bz
                    if z > nearest[y, x]:
                        nearest[y, x] = z
                        owner[y, x] = t
                        barycentric[y, x, 0] = w0
                        barycentric[y, x, 1] = w1
                w0 += step_x0
                w1 += step_x1
            row0 += step_y0
            row1 += step_y1


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def project(vertices, pivot, rotation, distance, turn, move, side, screen, depth):
    """Through a camera at `distance` and the crop's similarity onto `side` samples: screen (V, 2), depth (V,).

    rotation (3, 3) turns about `pivot`; turn (2, 2) and move (2,) map the picture to the crop in crop widths, y up.
    """
    for v in range(len(vertices)):
        px, py, pz = vertices[v, 0] - pivot[0], vertices[v, 1] - pivot[1], vertices[v, 2] - pivot[2]
        x = rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * pz
        y = rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * pz
        z = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * pz
        scale = distance / (distance + CAMERA_TO_PIVOT - z)
        x, y = x * scale, y * scale
        screen[v, 0] = (turn[0, 0] * x + turn[0, 1] * y + move[0] + np.float32(0.5)) * side
        screen[v, 1] = (np.float32(0.5) - turn[1, 0] * x - turn[1, 1] * y - move[1]) * side
        depth[v] = z


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def shade(
    owner,
    barycentric,
    nearest,
    triangles,
    kinds,
    normals,
    attributes,
    albedo_texture,
    height_texture,
    texels_per_cm,
    up,
    lights,
    light_colours,
    sky,
    ground,
    wrap,
    iris,
    background,
    samples,
    image,
    alpha,
):
    """Colours every pixel: linear RGB image (S, S, 3) over the background, coverage alpha (S, S).

    Samples of one pixel that lie on the same kind of surface at about the same depth are shaded once.

    Args:
        owner, barycentric, nearest: from `rasterize`, samples x samples a pixel.
        normals: (V, 3) in camera space.
        attributes: (V, 8): red, green, blue, texture s and y in texels (eyes: direction from the gaze, as sines),
            ambient visibility, key light visibility, gloss.
        albedo_texture: (rows, columns, 3) factors of the skin's colour; height_texture: (rows, columns) cm.
        up: (3,) the head's up in camera space. lights: (3, 3) unit directions, the first one casts shadows.
        light_colours: (3, 3); sky, ground, wrap: (3,).
        iris: (5,): red, green, blue, radius, pupil radius (sines).
        background: (S, S, 3) linear.
    """
    share = np.float32(1.0 / (samples * samples))
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            red = green = blue = covered = np.float32(0)
            last_kind, last_depth = -1, np.float32(0)
            r = g = b = np.float32(0)
            for sample in range(samples * samples):
                y, x = row * samples + sample // samples, column * samples + sample % samples
                t = owner[y, x]
                if t < 0:
                    continue
                if kinds[t] != last_kind or abs(nearest[y, x] - last_depth) > SAME_SURFACE:
                    last_kind, last_depth = kinds[t], nearest[y, x]
                    r, g, b = _shade_sample(
                        t,
                        barycentric[y, x, 0],
                        barycentric[y, x, 1],
                        triangles,
                        kinds[t],
                        normals,
                        attributes,
                        albedo_texture,
                        height_texture,
                        texels_per_cm,
                        up,
                        lights,
                        light_colours,
                        sky,
                        ground,
                        wrap,
                        iris,
                    )
                covered += share
                red += r
                green += g
                blue += b
            rest = np.float32(1) - covered
            image[row, column, 0] = red * share + rest * background[row, column, 0]
            image[row, column, 1] = green * share + rest * background[row, column, 1]
            image[row, column, 2] = blue * share + rest * background[row, column, 2]
            alpha[row, column] = covered


# Inlined: handing over so many arrays for every sample takes an eighth of the time.
@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _shade_sample(
    t,
    w0,
    w1,
    triangles,
    kind,
    normals,
    attributes,
    albedo_texture,
    height_texture,
    texels_per_cm,
    up,
    lights,
    light_colours,
    sky,
    ground,
    wrap,
    iris,
):
    """Linear red, green, blue of one point of triangle t; arguments as in `shade`."""
    rows, columns = height_texture.shape
    zero, one = np.float32(0), np.float32(1)
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    w2 = one - w0 - w1
    nx = w0 * normals[a, 0] + w1 * normals[b, 0] + w2 * normals[c, 0]
    ny = w0 * normals[a, 1] + w1 * normals[b, 1] + w2 * normals[c, 1]
    nz = w0 * normals[a, 2] + w1 * normals[b, 2] + w2 * normals[c, 2]
    red = w0 * attributes[a, 0] + w1 * attributes[b, 0] + w2 * attributes[c, 0]
    green = w0 * attributes[a, 1] + w1 * attributes[b, 1] + w2 * attributes[c, 1]
    blue = w0 * attributes[a, 2] + w1 * attributes[b, 2] + w2 * attributes[c, 2]
    ambient = w0 * attributes[a, 5] + w1 * attributes[b, 5] + w2 * attributes[c, 5]
    lit = w0 * attributes[a, 6] + w1 * attributes[b, 6] + w2 * attributes[c, 6]
    gloss = w0 * attributes[a, 7] + w1 * attributes[b, 7] + w2 * attributes[c, 7]
    power = np.float32(14)
    if kind != PLAIN:
        s = w0 * attributes[a, 3] + w1 * attributes[b, 3] + w2 * attributes[c, 3]
        v = w0 * attributes[a, 4] + w1 * attributes[b, 4] + w2 * attributes[c, 4]
    if kind == EYE:
        power = np.float32(120)
        radius = np.sqrt(s * s + v * v)
        edge = min(max((iris[3] - radius) / np.float32(0.05), zero), one)
        inner = min(max((iris[4] - radius) / np.float32(0.05), zero), one)
        limbus = min(max((radius - np.float32(0.72) * iris[3]) / (np.float32(0.3) * iris[3]), zero), one)
        keep = (one - inner) * (one - np.float32(0.55) * limbus)
        red = red * (one - edge) + edge * (iris[0] * keep + np.float32(0.01))
        green = green * (one - edge) + edge * (iris[1] * keep + np.float32(0.01))
        blue = blue * (one - edge) + edge * (iris[2] * keep + np.float32(0.01))
    elif kind == SKIN:
        column = min(max(int(s), 1), columns - 2)
        row = min(max(int(v), 1), rows - 2)
        fs = min(max(s - np.float32(column), zero), one)
        fv = min(max(v - np.float32(row), zero), one)
        g00, g01, g10, g11 = (one - fs) * (one - fv), fs * (one - fv), (one - fs) * fv, fs * fv
        low, high = albedo_texture[row], albedo_texture[row + 1]
        red *= g00 * low[column, 0] + g01 * low[column + 1, 0] + g10 * high[column, 0] + g11 * high[column + 1, 0]
        green *= g00 * low[column, 1] + g01 * low[column + 1, 1] + g10 * high[column, 1] + g11 * high[column + 1, 1]
        blue *= g00 * low[column, 2] + g01 * low[column + 1, 2] + g10 * high[column, 2] + g11 * high[column + 1, 2]
        h00, h01 = height_texture[row, column], height_texture[row, column + 1]
        h10, h11 = height_texture[row + 1, column], height_texture[row + 1, column + 1]
        height = g00 * h00 + g01 * h01 + g10 * h10 + g11 * h11
        slope_s = ((h01 - h00) * (one - fv) + (h11 - h10) * fv) * texels_per_cm
        slope_v = ((h10 - h00) * (one - fs) + (h11 - h01) * fs) * texels_per_cm
        # The tangent along s is up x normal; along y it is the head's up itself.
        tx, ty, tz = up[1] * nz - up[2] * ny, up[2] * nx - up[0] * nz, up[0] * ny - up[1] * nx
        nx -= slope_s * tx + slope_v * up[0]
        ny -= slope_s * ty + slope_v * up[1]
        nz -= slope_s * tz + slope_v * up[2]
        # Grooves get less light from around.
        dark = min(max(one + np.float32(2.5) * height, np.float32(0.5)), np.float32(1.05))
        deeper = dark * (np.float32(0.6) + np.float32(0.4) * dark)  # light that comes out of skin again is red
        red, green, blue = red * dark, green * deeper, blue * deeper
    length = one / (np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-9))
    nx, ny, nz = nx * length, ny * length, nz * length
    upward = np.float32(0.5) + np.float32(0.5) * (nx * up[0] + ny * up[1] + nz * up[2])
    total_r = (ground[0] + (sky[0] - ground[0]) * upward) * ambient
    total_g = (ground[1] + (sky[1] - ground[1]) * upward) * ambient
    total_b = (ground[2] + (sky[2] - ground[2]) * upward) * ambient
    shine_r = shine_g = shine_b = zero
    for light in range(3):
        strength = light_colours[light, 0] + light_colours[light, 1] + light_colours[light, 2]
        if strength <= 0:
            continue
        lx, ly, lz = lights[light, 0], lights[light, 1], lights[light, 2]
        facing = nx * lx + ny * ly + nz * lz
        seen = lit if light == 0 else ambient
        total_r += light_colours[light, 0] * seen * max((facing + wrap[0]) / (one + wrap[0]), zero)
        total_g += light_colours[light, 1] * seen * max((facing + wrap[1]) / (one + wrap[1]), zero)
        total_b += light_colours[light, 2] * seen * max((facing + wrap[2]) / (one + wrap[2]), zero)
        if facing > 0:
            half = nx * lx + ny * ly + nz * (lz + one)
            half /= np.sqrt(lx * lx + ly * ly + (lz + one) * (lz + one)) + np.float32(1e-6)
            if half > np.float32(0.5):
                glint = gloss * seen * np.exp(power * (half - one) * np.float32(2))
                shine_r += light_colours[light, 0] * glint
                shine_g += light_colours[light, 1] * glint
                shine_b += light_colours[light, 2] * glint
    return red * total_r + shine_r, green * total_g + shine_g, blue * total_b + shine_b


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def seen_from(screen, depth, nearest, slack, visible):
    """visible (V,): 1 where a vertex lies no more than `slack` behind what the z-buffer `nearest` holds there."""
    side = nearest.shape[0]
    for v in range(len(depth)):
        x, y = int(screen[v, 0]), int(screen[v, 1])
        inside = 0 <= x < side and 0 <= y < side
        visible[v] = 1.0 if not inside or depth[v] > nearest[y, x] - slack else 0.0


@njit(cache=True, nogil=True)
def stretch(cells, low, share, picture):
    """Fills picture (S, S, 3) from cells (n, n, 3): bilinear between `low` and the next, by `share` (both (S,))."""
    one = np.float32(1)
    size = len(low)
    row = np.empty((cells.shape[1], 3), np.float32)
    for y in range(size):
        for column in range(cells.shape[1]):
            for channel in range(3):
                row[column, channel] = (
                    cells[low[y], column, channel] * (one - share[y]) + cells[low[y] + 1, column, channel] * share[y]
                )
        for x in range(size):
            for channel in range(3):
                picture[y, x, channel] = row[low[x], channel] * (one - share[x]) + row[low[x] + 1, channel] * share[x]


@njit(cache=True, nogil=True)
def expose(linear, exposure, display):
    """(S, S, 3) what `display`, a curve over 0..1, shows of linear RGB (S, S, 3) times `exposure`."""
    one, last = np.float32(1), np.float32(len(display) - 1)
    picture = np.empty_like(linear)
    for y in range(linear.shape[0]):
        for x in range(linear.shape[1]):
            for channel in range(3):
                light = linear[y, x, channel] * exposure
                # A shoulder keeps highlights from clipping: what is 1 becomes .8, and nothing becomes more than 1.
                bent = light * (one + np.float32(0.35) * light)
                bent /= one + light * (np.float32(0.45) + np.float32(0.25) * light)
                picture[y, x, channel] = display[int(min(max(bent, np.float32(0)), one) * last)]
    return picture


@njit(cache=True, nogil=True)
def blur(picture, weights):
    """(S, S, 3) picture averaged with `weights` (2 R + 1,) along both axes; its edges go on as they are."""
    size, reach = picture.shape[0], len(weights) // 2
    rows = picture.reshape(size, -1)
    down, blurred = np.zeros_like(rows), np.zeros_like(rows)
    padded = np.empty(3 * (size + 2 * reach), np.float32)
    for y in range(size):
        for i in range(len(weights)):
            row = rows[min(max(y + i - reach, 0), size - 1)]
            for x in range(3 * size):
                down[y, x] += weights[i] * row[x]
        for x in range(size + 2 * reach):
            for channel in range(3):
                padded[3 * x + channel] = down[y, 3 * min(max(x - reach, 0), size - 1) + channel]
        for i in range(len(weights)):
            for x in range(3 * size):
                blurred[y, x] += weights[i] * padded[3 * i + x]
    return blurred.reshape(picture.shape)
