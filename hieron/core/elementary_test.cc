#include "hieron/core/elementary.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace hieron {
namespace {

struct Value {
  double x, result;
};

// Correctly rounded, from mpmath 1.3 at 400 bits.
constexpr Value kSine[] = {
    {0x1.5798ee2308c3ap-27, 0x1.5798ee2308c3ap-27}, {0x1.0000000000000p-27, 0x1.0000000000000p-27},
    {0x1.4f8b588e368f1p-17, 0x1.4f8b588e1e8a2p-17}, {0x1.0624dd2f1a9fcp-10, 0x1.0624da5218a62p-10},
    {0x1.0000000000000p-1, 0x1.eaee8744b05f0p-2},   {0x1.0000000000000p+0, 0x1.aed548f090ceep-1},
    {0x1.921fb54442d18p+0, 0x1.0000000000000p+0},   {0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53},
    {0x1.921fb54442d18p+2, -0x1.1a62633145c07p-52}, {0x1.6000000000000p+4, -0x1.220a29f6eb9f4p-7},
    {0x1.6300000000000p+8, -0x1.f9bd0307d1de3p-16}, {0x1.6300000000000p+9, 0x1.f9bd0303f6fafp-15},
    {0x1.86a0000000000p+16, 0x1.24daa9c527e96p-5},  {0x1.dcd6500000000p+28, -0x1.238976ee5f7a7p-2},
    {0x1.0000000000000p+30, -0x1.3c12353728cafp-1}, {-0x1.8000000000000p-1, -0x1.5cffc16bf8f0dp-1},
    {-0x1.4000000000000p+1, -0x1.326af0dcfcab1p-1}, {-0x1.e848000000000p+19, 0x1.6664b2568d867p-2},
    {0x1.f4f79ed75b7fcp+0, 0x1.da4ec11a11ca7p-1},   {0x1.2a4a4da368d17p+1, 0x1.7342285d7ad00p-1},
    {0x1.3fc42c9d491eap+1, 0x1.332a86a928760p-1},   {0x1.7afb53aed2136p+1, 0x1.7042874ea5d15p-3},
    {0x1.2987e7233e766p+1, 0x1.7557f5f469ce3p-1},   {0x1.72e38e21ea30ep+1, 0x1.eed07d2269654p-3},
    {0x1.753cfbedbeccep-4, 0x1.74b8cf526c91cp-4},   {0x1.7679d85f9a787p+0, 0x1.fd0456137476fp-1},
    {0x1.7b58a373a2dc8p+1, 0x1.6a857f60f00cfp-3},   {0x1.04f7d8d1603c8p+1, 0x1.c8f119881f674p-1},
    {0x1.6a4609879b569p+1, 0x1.39ad5315e6e27p-2},   {0x1.6c2ebbf5c4438p-2, 0x1.648dbf6f9de8cp-2},
    {0x1.793f6a0bbfbcep+0, 0x1.fd95a9ff6facep-1},   {0x1.8c9c7c9ee67c5p-1, 0x1.661ea9c98d18fp-1},
    {0x1.b55184afe9e83p+0, 0x1.fb2b4ab715b2cp-1},   {0x1.cd9744a8e45b8p+0, 0x1.f23f8b96e7ab9p-1},
    {0x1.51817dd2cb393p-5, 0x1.51690cf924c52p-5},   {0x1.5c9be092b4586p-1, 0x1.424a7bebbb4d7p-1},
    {0x1.c18bcdecac82bp-1, 0x1.89f8b653d466bp-1},   {0x1.707bfd8e16a93p+1, 0x1.0a07694c5fca4p-2},
    {0x1.a929251de3308p+5, 0x1.0936cdaa0f8dbp-2},   {-0x1.10510eabceb5ap+6, 0x1.b87ac71aa7111p-1},
    {0x1.db6f685e62e7cp+5, 0x1.081a8181e51eep-2},   {-0x1.20fc6ec635170p+6, -0x1.4b6ee8fef7742p-7},
    {0x1.77d91ad1ef2c8p+4, -0x1.feb1a90a1e65dp-1},  {-0x1.2aa3ff46c6a26p+6, 0x1.58814f608a2c5p-1},
    {-0x1.8e94821ac42a7p+6, 0x1.8c8c58e3e766fp-1},  {0x1.291fb11488042p+6, -0x1.cc3de634aacdap-1},
};
constexpr Value kCosine[] = {
    {0x1.5798ee2308c3ap-27, 0x1.0000000000000p+0},  {0x1.0000000000000p-27, 0x1.0000000000000p+0},
    {0x1.4f8b588e368f1p-17, 0x1.ffffffff920c8p-1},  {0x1.0624dd2f1a9fcp-10, 0x1.ffffef390876cp-1},
    {0x1.0000000000000p-1, 0x1.c1528065b7d50p-1},   {0x1.0000000000000p+0, 0x1.14a280fb5068cp-1},
    {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54},  {0x1.921fb54442d18p+1, -0x1.0000000000000p+0},
    {0x1.921fb54442d18p+2, 0x1.0000000000000p+0},   {0x1.6000000000000p+4, -0x1.fffadd8d4acdap-1},
    {0x1.6300000000000p+8, -0x1.fffffffc18e4cp-1},  {0x1.6300000000000p+9, 0x1.fffffff063930p-1},
    {0x1.86a0000000000p+16, -0x1.ffac3841b3da7p-1}, {0x1.dcd6500000000p+28, -0x1.eacfa519daddcp-1},
    {0x1.0000000000000p+30, 0x1.92cb46a920144p-1},  {-0x1.8000000000000p-1, 0x1.769fec655211fp-1},
    {-0x1.4000000000000p+1, -0x1.9a2f7ef858b7dp-1}, {-0x1.e848000000000p+19, 0x1.df9df9906d32cp-1},
    {0x1.50e8dde4eb37fp-1, 0x1.95183ea4d0f16p-1},   {0x1.5a99b8e9ed777p-1, 0x1.8f18937a7497dp-1},
    {0x1.8b0e12638da31p+1, -0x1.ff382c8397231p-1},  {0x1.5ed0e3ec60d74p+1, -0x1.d76a3e8a9df27p-1},
    {0x1.d15896410b710p-1, 0x1.3ab0d625d651cp-1},   {0x1.82a21c027c598p+1, -0x1.fc41556d8ed2fp-1},
    {0x1.b1ab53a4a312ap+0, -0x1.f77327c3eb8f4p-4},  {0x1.109261fd687fbp+1, -0x1.0f63fad1aa282p-1},
    {0x1.49630cdd6fb58p-1, 0x1.99a6c139391c2p-1},   {0x1.7a638f0add885p+1, -0x1.f7390e6dba3e4p-1},
    {0x1.15b93e0bd7035p+1, -0x1.20a3de791b5a2p-1},  {0x1.84adb6e2f87d0p+1, -0x1.fd2d8fc3649f8p-1},
    {0x1.67651514d2332p+1, -0x1.e3bc7ecc303e6p-1},  {0x1.e099bf90dea02p-1, 0x1.2e85167e2110dp-1},
    {0x1.227c765fb3f64p+0, 0x1.b088014df5331p-2},   {0x1.0af087104a7abp-1, 0x1.bbf9b44d49d18p-1},
    {0x1.d4b8c23c36908p-2, 0x1.cb4ad44cf4bdcp-1},   {0x1.a31b94051e38ep-3, 0x1.f551036fe44d2p-1},
    {0x1.e4bc17da9100ap-1, 0x1.2b2cba02b57afp-1},   {0x1.e50cc24efee36p+0, -0x1.45eeed60124a7p-2},
    {-0x1.8d4b231c66f06p+6, 0x1.6bcd0958c00eap-2},  {0x1.1cb1de5d8904cp+5, -0x1.07e186aef5116p-1},
    {-0x1.035d720acba6ap+5, 0x1.129b381b3a452p-1},  {-0x1.30113b30ee02ep+5, 0x1.e7b426acf03f4p-1},
    {0x1.fda100dd367d4p+5, 0x1.4976114624334p-1},   {-0x1.ecec584b74e60p+1, -0x1.847dcfcea343ap-1},
    {-0x1.26bb24d30b9c4p+5, 0x1.4eed3f8820936p-1},  {-0x1.e0cf2f17e0980p+1, -0x1.a244893cad0b1p-1},
};
constexpr Value kArcCosine[] = {
    {0x0.0p+0, 0x1.921fb54442d18p+0},
    {0x1.56e1fc2f8f359p-997, 0x1.921fb54442d18p+0},
    {0x1.70ef54646d497p-57, 0x1.921fb54442d18p+0},
    {0x1.5798ee2308c3ap-27, 0x1.921fb5194fb3cp+0},
    {0x1.0000000000000p-2, 0x1.51700e0c14b25p+0},
    {0x1.0000000000000p-1, 0x1.0c152382d7366p+0},
    {0x1.0000000000001p-1, 0x1.0c152382d7365p+0},
    {0x1.8000000000000p-1, 0x1.720a392c1d955p-1},
    {0x1.ffbe76c8b4396p-1, 0x1.031088621c93ep-5},
    {0x1.fffffca501acbp-1, 0x1.d4effc851e7f2p-12},
    {0x1.fffffffffffffp-1, 0x1.0000000000000p-26},
    {0x1.0000000000000p+0, 0x0.0p+0},
    {-0x1.12e0be826d695p-30, 0x1.921fb5488e548p+0},
    {-0x1.0000000000000p-1, 0x1.0c152382d7366p+1},
    {-0x1.8000000000000p-1, 0x1.359d26f93b6c3p+1},
    {-0x1.ffbe76c8b4396p-1, 0x1.8e137322ba5f3p+1},
    {-0x1.fffffffffffffp-1, 0x1.921fb52442d18p+1},
    {-0x1.0000000000000p+0, 0x1.921fb54442d18p+1},
    {0x1.a329922d16348p-2, 0x1.26294c5a92a1cp+0},
    {-0x1.c5a18c5f356f2p-1, 0x1.54687b69f4799p+1},
    {0x1.e6807ff83189ep-1, 0x1.448739c3dbfd8p-2},
    {-0x1.e895ee067ff1ap-1, 0x1.6b439c7ec5fd1p+1},
    {0x1.ff94885b8e8f8p-2, 0x1.0c34285a7d0dcp+0},
    {0x1.612874b3bfe88p-1, 0x1.9e88a7a5bab96p-1},
    {-0x1.ed7fb439b8352p-1, 0x1.6f9be84afa479p+1},
    {0x1.26a4deb59c218p-1, 0x1.ea4bcb7745f05p-1},
    {-0x1.120ddf9fa6844p-2, 0x1.d77b9bf36bbcfp+0},
    {0x1.419cf5aeb63c0p-3, 0x1.69c14fcc25307p+0},
    {-0x1.f6b427c609ebap-1, 0x1.79b1e9f2a601fp+1},
    {-0x1.d026c425682d8p-1, 0x1.5a586f00297f2p+1},
    {-0x1.46bd0ab02a2c0p-1, 0x1.21a6d39292488p+1},
    {0x1.d21aadfa29992p-1, 0x1.b4e21173a82c4p-2},
    {-0x1.36c305f0c3ef4p-1, 0x1.1c8bfb68613d2p+1},
    {0x1.05dfc41f7fc58p-1, 0x1.08ad913635c8ap+0},
    {0x1.b7f79068e526ep-1, 0x1.12e16a38ba5e1p-1},
    {0x1.c4a7233b298b8p-1, 0x1.f1edac63a3581p-2},
    {-0x1.3eb4bf7ccd0fcp-2, 0x1.e3257137345e9p+0},
    {-0x1.29622e1b77494p-2, 0x1.dd8e7b6a47224p+0},
    {0x1.ffffffc03e9c4p-1, 0x1.ff0551a70bcc9p-14},
    {0x1.fffa5b3df2cf5p-1, 0x1.3014b3ff28f02p-7},
    {0x1.fffffffffffdap-1, 0x1.8a85c24f7065cp-24},
    {0x1.fffdcb6d19d85p-1, 0x1.7c2c38022e295p-8},
    {0x1.fff4170d3e681p-1, 0x1.b9bdd9ba50ab8p-7},
    {0x1.ff98fab00587fp-1, 0x1.44d18aa07f56ep-5},
    {-0x1.ffffffffffffdp-1, 0x1.921fb50cd5dbbp+1},
    {-0x1.f81fe5a608ac9p-1, 0x1.7ba4fba87f1e7p+1},
    {-0x1.fffffffffffebp-1, 0x1.921fb4b19e5bcp+1},
    {-0x1.ffffffffe3994p-1, 0x1.921f8aa1de499p+1},
};
constexpr Value kExponential[] = {
    {0x0.0p+0, 0x1.0000000000000p+0},
    {0x1.79ca10c924223p-67, 0x1.0000000000000p+0},
    {-0x1.70ef54646d497p-57, 0x1.0000000000000p+0},
    {0x1.0000000000000p-53, 0x1.0000000000001p+0},
    {0x1.4f8b588e368f1p-17, 0x1.0000a7c5e340ep+0},
    {0x1.0000000000000p+0, 0x1.5bf0a8b145769p+1},
    {-0x1.0000000000000p+0, 0x1.78b56362cef38p-2},
    {0x1.0000000000000p-1, 0x1.a61298e1e069cp+0},
    {0x1.4000000000000p+3, 0x1.5829dcf950560p+14},
    {0x1.62ccccccccccdp+6, 0x1.f4705bbffae5cp+127},
    {-0x1.5d33333333333p+6, 0x1.09874c0b9cacbp-126},
    {0x1.6280000000000p+9, 0x1.d422d2be5dc9bp+1022},
    {0x1.62d999999999ap+9, 0x1.d75ae7a50ee14p+1023},
    {0x1.62e42fefa39efp+9, 0x1.fffffffffff2ap+1023},
    {-0x1.6200000000000p+9, 0x1.7c8ab2288c9abp-1022},
    {-0x1.6240000000000p+9, 0x0.e6cf6d08897acp-1022},
    {-0x1.62c0000000000p+9, 0x0.54e90c99fb878p-1022},
    {-0x1.6800000000000p+9, 0x0.0000993b4dc95p-1022},
    {-0x1.7200000000000p+9, 0x0.0000000000055p-1022},
    {-0x1.7440000000000p+9, 0x0.0000000000001p-1022},
    {-0x1.748cccccccccdp+9, 0x0.0000000000001p-1022},
    {-0x1.7490a3d70a3d7p+9, 0x0.0000000000001p-1022},
    {0x1.1bb7ef740a478p+2, 0x1.50c4bf606dde0p+6},
    {0x1.0b93678bdb0bep+4, 0x1.178951cc4a7fap+24},
    {-0x1.99b41fe7c8978p+2, 0x1.b2dcd8f0686bcp-10},
    {0x1.0f7c89b83562cp+4, 0x1.64ef032be6965p+24},
    {0x1.ce466275da970p+0, 0x1.856a22c0b7f97p+2},
    {-0x1.e02086a47dae0p+2, 0x1.216680c4131fcp-11},
    {-0x1.d4fdf61e06778p+2, 0x1.5865b3bef0533p-11},
    {-0x1.9cd41520323b9p+3, 0x1.4efc1617eb149p-19},
    {-0x1.0df4544ddb049p+4, 0x1.941e2393bf41bp-25},
    {-0x1.c172eb4c9e4f2p+3, 0x1.aaa93dd8a8d2ep-21},
    {0x1.e4497522fa260p+2, 0x1.e3532dbd5e734p+10},
    {0x1.3de7b8a6b418ap+4, 0x1.95e8b38662842p+28},
    {-0x1.b13e066cc7860p+3, 0x1.62003f17ac23cp-20},
    {-0x1.20ed36a985f9cp+4, 0x1.edda5ce588a3bp-27},
    {0x1.377cc8300d4bcp+4, 0x1.0fc99daec366fp+28},
    {0x1.575ad39e377b0p+0, 0x1.e97064e7cd529p+1},
    {-0x1.35ad79706e5acp+7, 0x1.8806b72e14471p-224},
    {-0x1.8fe99eb6274b7p+8, 0x1.08ae27421510fp-577},
    {0x1.da78ff2af76d8p+6, 0x1.181b4e06788fep+171},
    {0x1.c86f0544f9b7cp+8, 0x1.68af8678c6497p+658},
    {-0x1.49da0d94bf558p+6, 0x1.05951ae69dc4cp-119},
    {-0x1.0787a28f10588p+7, 0x1.ded84e0c90eaep-191},
    {-0x1.4c003740275dep+9, 0x1.08abf68ca69f6p-958},
    {0x1.257b7fa2c1fa6p+9, 0x1.c1365113a7198p+846},
    {-0x1.5cb6303506143p+9, 0x1.c756c5ef3a21ap-1007},
    {-0x1.b5b8f4f8306e0p+4, 0x1.71f71cc4ce674p-40},
};
constexpr Value kLogarithm[] = {
    {0x0.0000000000001p-1022, -0x1.74385446d71c3p+9},
    {0x0.012688b70e62bp-1022, -0x1.64e69394d9508p+9},
    {0x1.0000000000000p-1022, -0x1.6232bdd7abcd2p+9},
    {0x1.56e1fc2f8f359p-997, -0x1.5963447f87fb5p+9},
    {0x1.5798ee2308c3ap-27, -0x1.26bb1bbb55516p+4},
    {0x1.0000000000000p-1, -0x1.62e42fefa39efp-1},
    {0x1.6a09e667f3bccp-1, -0x1.62e42fefa39f1p-2},
    {0x1.6a09e667f3bcdp-1, -0x1.62e42fefa39eep-2},
    {0x1.fffffffffffffp-1, -0x1.0000000000000p-53},
    {0x1.fffffff800000p-1, -0x1.0000000200000p-30},
    {0x1.0000000000001p+0, 0x1.fffffffffffffp-53},
    {0x1.0000000400000p+0, 0x1.fffffffc00000p-31},
    {0x1.0000000000000p+0, 0x0.0p+0},
    {0x1.6a09e667f3bcdp+0, 0x1.62e42fefa39f0p-2},
    {0x1.0000000000000p+1, 0x1.62e42fefa39efp-1},
    {0x1.5bf0a8b145769p+1, 0x1.0000000000000p+0},
    {0x1.4000000000000p+3, 0x1.26bb1bbb55516p+1},
    {0x1.7d78400000000p+26, 0x1.26bb1bbb55516p+4},
    {0x1.7e43c8800759cp+996, 0x1.5963447f87fb5p+9},
    {0x1.fffffffffffffp+1023, 0x1.62e42fefa39efp+9},
    {0x1.c1f4f3b9f05a2p+0, 0x1.20c13aff3f08cp-1},
    {0x1.6447773e3470cp-1, -0x1.73500b86d6a9dp-2},
    {0x1.98f58a1b13046p+0, 0x1.dfae28ac2938bp-2},
    {0x1.ecb8ff765f904p+0, 0x1.4f3de19786916p-1},
    {0x1.7212c5ab0824ap+0, 0x1.795e48af56b4bp-2},
    {0x1.ae987da3dd0ccp+0, 0x1.0a3c66d214dd2p-1},
    {0x1.51e46e5034f10p-1, -0x1.a9925d0eebd73p-2},
    {0x1.26de8371e7651p+0, 0x1.217e6a7e231c6p-3},
    {0x1.729ed425a458cp-1, -0x1.4ae6d66ad3fcfp-2},
    {0x1.c460b89430e55p+0, 0x1.238091265f477p-1},
    {0x1.e26a946d8e30cp-1, -0x1.e7907a18318cap-5},
    {0x1.2e02f0cc4193bp+0, 0x1.52824f323f87ep-3},
    {0x1.ffbb2e9dc77fep+0, 0x1.629f59ed0720bp-1},
    {0x1.c743d8b8203c0p+0, 0x1.26c272f753ac0p-1},
    {0x1.026fe9a2e4ea9p+0, 0x1.367b11f891b3ap-7},
    {0x1.ff863536fd2d0p-1, -0x1.e7651e8fe87b5p-11},
    {0x1.ffe0f5a371143p-1, -0x1.f0b4d795e11bbp-13},
    {0x1.012cd11b15551p+0, 0x1.2c20e7aed0dddp-8},
    {0x1.ffc90fa059cbcp-1, -0x1.b79a9375b3be6p-12},
    {0x1.fddc2da7006fap-1, -0x1.127c1eed601b9p-8},
    {0x1.2dc02d046d632p-192, -0x1.09d6f49c23cbdp+7},
    {0x1.594e64dd07f1cp-705, -0x1.e85e981540bbep+8},
    {0x1.cb44fb854c337p-246, -0x1.53dc07c4694f7p+7},
    {0x1.59ae1d9cacd67p+973, 0x1.515dc3f93404bp+9},
    {0x1.6656c5f910078p+916, 0x1.3da12ad237076p+9},
    {0x1.0b13433f2f79cp+253, 0x1.5ed132aa5be7dp+7},
    {0x1.919412b49a4e1p-2, -0x1.df446f86c25ecp-1},
    {0x1.0b6559433a767p-322, -0x1.be4cb7bbdebadp+7},
};

template <size_t kCount>
void expect_bits(double (*function)(double), const Value (&values)[kCount]) {
  for (const Value& v : values) {
    EXPECT_EQ(std::bit_cast<uint64_t>(function(v.x)), std::bit_cast<uint64_t>(v.result))
        << std::hexfloat << v.x << " gives " << function(v.x) << ", not " << v.result;
  }
}

TEST(Elementary, SineIsCorrectlyRounded) { expect_bits(sine, kSine); }
TEST(Elementary, CosineIsCorrectlyRounded) { expect_bits(cosine, kCosine); }
TEST(Elementary, ArcCosineIsCorrectlyRounded) { expect_bits(arc_cosine, kArcCosine); }
TEST(Elementary, ExponentialIsCorrectlyRounded) { expect_bits(exponential, kExponential); }
TEST(Elementary, LogarithmIsCorrectlyRounded) { expect_bits(logarithm, kLogarithm); }

// Half an ulp of the result, and what the C library's own long double may be off.
template <class Draw>
void expect_nearest(double (*function)(double), long double (*wide)(long double), Draw draw) {
  static_assert(std::numeric_limits<long double>::digits > 60);
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    const double x = draw(std::ldexp(static_cast<double>(random() >> 11), -53));
    const double result = function(x);
    const long double ulp = std::nextafter(std::fabs(result), INFINITY) - std::fabs(result);
    ASSERT_LE(std::fabs(wide(x) - static_cast<long double>(result)), ulp * 0.501L)
        << std::hexfloat << x << " gives " << result;
  }
}

TEST(Elementary, AgreesWithLongDoubleEverywhere) {
  expect_nearest(sine, sinl, [](double u) { return 20 * u - 10; });
  expect_nearest(cosine, cosl, [](double u) { return 20 * u - 10; });
  expect_nearest(arc_cosine, acosl, [](double u) { return 2 * u - 1; });
  expect_nearest(arc_cosine, acosl, [](double u) { return 1 - std::ldexp(u, -20); });
  expect_nearest(exponential, expl, [](double u) { return 1400 * u - 700; });
  expect_nearest(exponential, expl, [](double u) { return 2 * u - 1; });
  expect_nearest(logarithm, logl, [](double u) { return u + 0x1p-60; });
  expect_nearest(logarithm, logl, [](double u) { return 0.99 + 0.02 * u; });
  expect_nearest(logarithm, logl, [](double u) { return std::ldexp(1 + u, 900); });
}

TEST(Elementary, EndsWhereTheFunctionsEnd) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(sine(kInfinity)) && std::isnan(cosine(-kInfinity)));
  EXPECT_TRUE(std::isnan(sine(0x1p31)));
  EXPECT_TRUE(std::isnan(arc_cosine(1.0000000000000002)) && std::isnan(arc_cosine(NAN)));
  EXPECT_TRUE(std::signbit(sine(-0.0)) && sine(-0.0) == 0);
  EXPECT_EQ(exponential(710.5), kInfinity);
  EXPECT_EQ(exponential(kInfinity), kInfinity);
  EXPECT_EQ(exponential(-kInfinity), 0);
  EXPECT_TRUE(std::isnan(exponential(NAN)));
  EXPECT_EQ(logarithm(0), -kInfinity);
  EXPECT_EQ(logarithm(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(logarithm(-1)) && std::isnan(logarithm(NAN)));
}

}  // namespace
}  // namespace hieron
