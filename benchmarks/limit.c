/* The training step as plain loops, float32, clip by clip, layer by layer, kernel by kernel: short passes that stay in the
   nearest cache. It is no part of the package; benchmarks/speed.py compiles it to show what plain arrays leave to gain. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

void step(int L, int N, int K, int B, int T, const int *dilations, const float *kernels, const float *biases,
          const float *mixing, const float *output, const float *x, const float *y, float *losses, float *dkernels,
          float *dbiases, float *dmixing, float *doutput)
{
    float *in = malloc(sizeof(float) * (L + 1) * T), *z = malloc(sizeof(float) * L * N * T);
    float *y_hat = malloc(sizeof(float) * T), *dy = malloc(sizeof(float) * T), *da = malloc(sizeof(float) * T);
    float *dx = malloc(sizeof(float) * T), *dx_next = malloc(sizeof(float) * T);
    for (int clip = 0; clip < B; clip++) {
        memcpy(in, x + clip * T, sizeof(float) * T);
        memset(y_hat, 0, sizeof(float) * T);
        for (int l = 0; l < L; l++) {
            float *now = in + l * T, *next = in + (l + 1) * T;
            memcpy(next, now, sizeof(float) * T);
            for (int i = 0; i < N; i++) {
                float *restrict a = z + (l * N + i) * T;
                const float b = biases[l * N + i], o = output[l * N + i], w = l + 1 < L ? mixing[l * N + i] : 0;
                for (int t = 0; t < T; t++) a[t] = b;
                for (int tau = 0; tau < K; tau++) {
                    const int delay = tau * dilations[l];
                    const float k = kernels[(l * N + i) * K + tau];
                    for (int t = delay; t < T; t++) a[t] += k * now[t - delay];
                }
                for (int t = 0; t < T; t++) {
                    const float value = 1 / (1 + expf(-a[t]));
                    a[t] = value;
                    y_hat[t] += o * value;
                    next[t] += w * value;
                }
            }
        }
        float energy = 0, error = 0;
        for (int t = 0; t < T; t++) {
            const float target = y[clip * T + t], residual = y_hat[t] - target;
            energy += target * target;
            error += residual * residual;
            dy[t] = residual;
        }
        losses[clip] = error / energy;
        for (int t = 0; t < T; t++) dy[t] *= 2 / (B * energy);
        memset(dx_next, 0, sizeof(float) * T);
        for (int l = L - 1; l >= 0; l--) {
            const float *now = in + l * T;
            memcpy(dx, dx_next, sizeof(float) * T);
            for (int i = 0; i < N; i++) {
                const float *restrict value = z + (l * N + i) * T;
                const float o = output[l * N + i], w = l + 1 < L ? mixing[l * N + i] : 0;
                float sum_o = 0, sum_w = 0, sum_b = 0;
                for (int t = 0; t < T; t++) {
                    const float v = value[t];
                    const float up = (o * dy[t] + w * dx_next[t]) * v * (1 - v);
                    da[t] = up;
                    sum_o += dy[t] * v;
                    sum_w += dx_next[t] * v;
                    sum_b += up;
                }
                doutput[l * N + i] += sum_o;
                if (l + 1 < L) dmixing[l * N + i] += sum_w;
                dbiases[l * N + i] += sum_b;
                for (int tau = 0; tau < K; tau++) {
                    const int delay = tau * dilations[l];
                    const float k = kernels[(l * N + i) * K + tau];
                    float sum_k = 0;
                    for (int t = delay; t < T; t++) {
                        sum_k += da[t] * now[t - delay];
                        dx[t - delay] += k * da[t];
                    }
                    dkernels[(l * N + i) * K + tau] += sum_k;
                }
            }
            float *swap = dx_next; dx_next = dx; dx = swap;
        }
    }
    free(in); free(z); free(y_hat); free(dy); free(da); free(dx); free(dx_next);
}
