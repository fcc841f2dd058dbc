// mlir-opt neighbour.mlir --gpu-module-to-binary="format=isa" (22.1) prints neighbour.ptx as a string.
module attributes {gpu.container_module} {
  gpu.module @m [#nvvm.target<chip = "sm_80", features="+ptx78">] {
    llvm.mlir.global internal @smem() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<256 x f32>
    llvm.func @neighbour(%x: !llvm.ptr<1> {llvm.align = 16 : i64}, %y: !llvm.ptr<1>, %n: i32) attributes {gpu.kernel, nvvm.kernel, nvvm.reqntid = array<i32: 128, 1, 1>} {
      %t = nvvm.read.ptx.sreg.tid.x : i32
      %b = nvvm.read.ptx.sreg.ctaid.x : i32
      %c = llvm.mlir.constant(128 : i32) : i32
      %i0 = llvm.mul %b, %c : i32
      %i = llvm.add %i0, %t : i32
      %p = llvm.icmp "slt" %i, %n : i32
      %z = llvm.mlir.constant(0.0 : f32) : f32
      llvm.cond_br %p, ^a, ^b(%z : f32)
    ^a:
      %q = llvm.getelementptr %x[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
      %v = llvm.load %q : !llvm.ptr<1> -> f32
      %e = llvm.intr.exp2(%v) : (f32) -> f32
      llvm.br ^b(%e : f32)
    ^b(%w : f32):
      %s = llvm.mlir.addressof @smem : !llvm.ptr<3>
      %sp = llvm.getelementptr %s[%t] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
      llvm.store %w, %sp : f32, !llvm.ptr<3>
      nvvm.barrier0
      %one = llvm.mlir.constant(1 : i32) : i32
      %tx = llvm.xor %t, %one : i32
      %sq = llvm.getelementptr %s[%tx] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
      %r = llvm.load %sq : !llvm.ptr<3> -> f32
      %m = llvm.mlir.constant(-1 : i32) : i32
      %cl = llvm.mlir.constant(31 : i32) : i32
      %sh = nvvm.shfl.sync bfly %m, %r, %one, %cl : f32 -> f32
      %h = llvm.fptrunc %sh : f32 to bf16
      %hf = llvm.fpext %h : bf16 to f32
      %yo = llvm.getelementptr %y[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
      llvm.cond_br %p, ^s, ^d
    ^s:
      llvm.store %hf, %yo : f32, !llvm.ptr<1>
      llvm.br ^d
    ^d:
      llvm.return
    }
  }
}
